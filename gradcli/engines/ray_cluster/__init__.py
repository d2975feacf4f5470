"""Trials on a Ray cluster: the engine, the process that is connected to Ray, and what runs there.

    ray_engine    the engine; it starts the process of `connection`, and knows no Ray
    connection    what that process runs: requests in, answers out
    joining       finds a cluster, or starts one
    actors        gives each trial to an actor, and replaces actors that are lost
    trial_actor   what runs on a node: a worker process, as on this machine, and who looks after it
    trial_files   a trial's files on their way between machines without a common folder
    shipped_code  the code and the configs that travel

Ray lives in a process of its own. It prints to stdout, replaces signal handlers and ends its
process if the cluster is lost; none of that reaches the comparison, which can be resumed.
"""
