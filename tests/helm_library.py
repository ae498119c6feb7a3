"""Asks Helm's library about a chart: ``python helm_library.py CHART < question.json``.

A process of its own, because the library brings the runtime of Go, which has crashed in the large
process of the tests. The question has ``action`` (render, lint or schema), and ``values``, or
``set`` as Helm's option --set. Prints the answer as JSON. The exit status is 1 where Helm refuses.
"""

import json
import sys

import helm_python as helm

question = json.load(sys.stdin)
values = helm.parse_set_string(question["set"]) if question.get("set") else question.get("values")
try:
    if question["action"] == "lint":
        answer = helm.lint(sys.argv[1], values, strict=True)
    else:
        with helm.Chart.load(sys.argv[1]) as chart:
            chart.validate_schema(values or {})
            answer = (
                chart.schema
                if question["action"] == "schema"
                else chart.render(values or {}, name="sam", namespace="labels")
            )
except helm.HelmError as error:
    sys.exit(str(error))
json.dump(answer, sys.stdout)
