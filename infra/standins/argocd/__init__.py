"""A stand-in of Argo CD: its API server and its application controller, as one process.

It renders what is merged in bare repositories, compares that with a cluster over the Kubernetes API, syncs as
the Application's policy says, and reports all of it in the shapes of Argo CD 3. It has no user interface, no
resource hooks, no Helm, no RBAC beyond one token, and forgets everything when it ends.
"""
