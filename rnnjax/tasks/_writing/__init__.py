"""What the tasks that write have alike: pairs, an encoder and a decoder, figures, pictures."""
