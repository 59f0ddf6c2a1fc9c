"""What a study is: its config, its plan and its stages."""
