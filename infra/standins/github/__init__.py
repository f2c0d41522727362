"""A stand-in of the GitHub REST API over real bare Git repositories.

`python -m infra.standins.github --port P --root DIR --token T` serves every DIR/<owner>/<name>.git with
the requests, answers and errors of GitHub's API, for its ordinary clients (PyGithub with `base_url`).
Repositories are real: `clone_url` is the path of the bare repository, and what is pushed there by path is
noticed at the next request. Pull requests and settings are in `github.json` inside the bare repository, and
outlive the process.

Not GitHub's own: `POST`, `GET` and `DELETE /_standin/faults` (see `faults`). Where it differs from GitHub:
mergeability is computed at the first GET after creation instead of in a background job; every token has
write and administration rights, and protection binds all of them; the rate limit is counted and never
enforced; forks, organisations, teams and checks do not exist; names of owners and repositories are
case-sensitive.
"""
