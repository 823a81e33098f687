"""After damage: ``recover`` saves whatever is whole, frame by frame and member by member."""
