"""What does a training set do to a model's robustness to natural distribution shift?"""
