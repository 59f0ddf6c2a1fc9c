"""Training: from a subset with captions or labels to the weights of a run.

Read in this order:

1. `settings`: hyper-parameters and all else that decides a run; `device`: device, precision, threads, repeatability.
2. `models`: architectures; `small_convolutions`: their convolutions, faster in 16 bits; `weights`: reading, writing
   and naming their weights, and published models; `text_encoder`: tokens, the text tower without padding, and the part
   of the vocabulary that occurs; `light_imports`: what of torch and open_clip is used without the rest; `quick_start`:
   how a job imports torch and ends; `model_trial`: whether a described model can be built and takes a study's images,
   for the plan.
3. `objectives`: CLIP, SigLIP, cross-entropy, supervised contrastive and SimCLR; `losses`: the formulas of the last two;
   `image_sizes`: images smaller than a model is made for.
4. `augmentation`, `batches`: what a step sees, in an order that the seed decides; `device_crops`: crops made on a GPU;
   `order_checks`: whether the order mixes the classes.
5. `loop`: `train`, one loop for all; `steps`: one step, recorded on a GPU where that pays; `optimisers`: Muon and
   AdamW; `grad_cache`: the gradient of a batch that does not fit into memory; `distributed`: several processes that
   share a batch; `checkpoints`: stop and continue with the same weights.
6. `job`: a run from its files to its weights, alone or by torchrun; `kept_tokens`: tokens for a run that continues;
   `footprint`: GPU memory of a step, counted before it; `gpu_locks`: GPUs of a job's own; `false_negatives`: samples
   that a contrastive loss takes for different although they say the same.
"""
