"""Reconciles one pull request for each Argo CD Application with what its workloads should ask for."""
