"use strict";
const zone = document.getElementById("upload");
const list = document.getElementById("uploads");
const told = document.getElementById("uploaded");
const picker = document.getElementById("files");
document.getElementById("uploader").hidden = false;
const waiting = [];
let busy = false, done = 0, failed = 0;

function add(file) {
  const row = list.appendChild(document.createElement("li"));
  const name = row.appendChild(document.createElement("span"));
  const bar = row.appendChild(document.createElement("progress"));
  const state = row.appendChild(document.createElement("span"));
  name.textContent = file.name;
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", "Upload of " + file.name);
  state.textContent = "waiting";
  waiting.push({ file, row, bar, state, replace: false });
  next();
}

function next() {
  if (busy) return;
  const upload = waiting.shift();
  if (!upload) {
    if (done && !failed) location.reload();
    return;
  }
  busy = true;
  const { file, bar, state } = upload;
  const request = new XMLHttpRequest();
  const path = "./" + encodeURIComponent(file.name) + (upload.replace ? "?replace" : "");
  request.open("PUT", path);
  request.upload.onprogress = (event) => {
    if (!event.lengthComputable) return;
    bar.value = event.loaded / event.total;
    state.textContent = Math.floor(100 * bar.value) + " %";
  };
  request.onload = () => end(upload, request.status, request.responseText);
  request.onerror = () => end(upload, 0, "the connection was lost");
  state.textContent = "0 %";
  request.send(file);
}

function end(upload, status, reason) {
  const { file, row, bar, state } = upload;
  busy = false;
  if (status === 201 || status === 204) {
    done++;
    bar.value = 1;
    state.textContent = "done";
    told.textContent = file.name + " is uploaded";
  } else if (status === 409) {
    failed++;
    bar.value = 0;
    state.textContent = "exists";
    const again = row.appendChild(document.createElement("button"));
    again.type = "button";
    again.textContent = "Replace " + file.name;
    again.onclick = () => {
      failed--;
      again.remove();
      upload.replace = true;
      waiting.push(upload);
      next();
    };
    told.textContent = file.name + " exists already";
  } else {
    failed++;
    state.className = "bad";
    state.textContent = reason || "failed";
    told.textContent = file.name + " was not uploaded: " + state.textContent;
  }
  next();
}

picker.onchange = () => {
  for (const file of picker.files) add(file);
  picker.value = "";
};
window.ondragover = (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  zone.classList.add("over");
};
window.ondragleave = (event) => {
  if (!event.relatedTarget) zone.classList.remove("over");
};
window.ondrop = (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  for (const item of event.dataTransfer.items) {
    const entry = item.webkitGetAsEntry && item.webkitGetAsEntry();
    if (entry && entry.isDirectory) {
      told.textContent = entry.name + " is a folder: drop files";
    } else if (item.kind === "file") {
      add(item.getAsFile());
    }
  }
};
