"""Statistics that stay true when somebody looks every 15 minutes.

In: counts, scores and seeds. Out: numbers (intervals, e-values, p-values, sample sizes, distances). Owns: nothing.
Never: decides what to do, knows a noun, reads a clock or a file.

Modules by question: `eprocess` (live and paired comparisons at any look), `paired` (fixed exams), `intervals`, `power`,
`drift`, `detect` (change in a stream), `multiplicity`; and `calibration`, `judge` (model-graded scores), `special`.
"""
