"""What a terminal shows while a study runs: one live display, in place of the lines that Snakemake writes.

Read in this order:

1. `at_work`: what is known of a study that runs, from the events that Snakemake reports, the notes that jobs leave
   beside their logs (`whyrobust.progress`) and the times that finished jobs took; how long it will take.
2. `job_names`: what a job is about, and what its time goes by.
3. `view`: the same as lines for a terminal.
4. `display`: the handler of Snakemake's log that keeps the lines on the terminal, and warnings and messages above them.
"""
