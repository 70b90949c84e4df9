"""The sources of a project, in the order in which they take what they can use.

A section that one source has used is left alone by those after it.
"""

from finetune.project import code, docs, escalation, faq, github, sales
from finetune.project.context import Source

SOURCES: dict[str, Source] = {
    "sales": sales.find,
    "faq": faq.find,
    "docs": docs.find,
    "code": code.find,
    "escalation": escalation.find,
    "github": github.find,
}
