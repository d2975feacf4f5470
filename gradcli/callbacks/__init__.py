"""What the callbacks for other people's trainers share; each is in a module of its library's name.

`gradcli.lightning` and `gradcli.transformers` say when something happens in their trainer; here is
what is done with it. The measurements are those of `GradientMonitor`.
"""
