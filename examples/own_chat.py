"""A chat model of your own: a rule that reads its prompt and answers. No language model."""

import re
import tempfile
from pathlib import Path

from minirec.data.smallworld import small_world
from minirec.demos.actor import demonstrate
from minirec.demos.audit import audit
from minirec.demos.chat import Reply
from minirec.demos.grounding import Grounder
from minirec.demos.transcript import Transcript
from minirec.world.histories import Histories
from minirec.world.rules import RULES
from minirec.world.sources import TruthSource


class LikeTheBest:
    """Names the first title with the genres of the best-rated one, or as many as possible."""

    name = "genre rule (no language model)"

    def __init__(self, catalogue):
        self.genres = dict(zip(catalogue.titles, map(set, catalogue.genres), strict=True))

    @property
    def settings(self):  # all that a reply depends on besides the request
        return {"model": self.name, "digest": "1", "options": {"titles": len(self.genres)}}

    def reply(self, messages, *, seed, schema=None):
        rated = re.findall(r"^- (.+): (\S+) of 5$", messages[1]["content"], re.MULTILINE)
        told = {title: float(rating) for title, rating in rated}
        liked = self.genres[max(told, key=told.get)] if told else set()
        free = [title for title in self.genres if title not in told]
        title = max(free, key=lambda title: len(self.genres[title] & liked))
        return Reply(f"Thought: more like the best so far.\nAction: recommend[{title}]")


world = small_world()
histories, grounder = Histories.from_log(world.log), Grounder(world.catalogue.titles)
given = TruthSource(world), RULES["no_repeat"], histories, range(20)
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "calls.jsonl"
    asked = Transcript(file, LikeTheBest(world.catalogue), "record")
    played = list(demonstrate(*given, asked, grounder))
    again = list(demonstrate(*given, Transcript(file), grounder))
same = all((a.acts == b.acts).all() for a, b in zip(played, again, strict=True))
found = audit(played, world.catalogue)
print(f"{asked.name}: {len(played)} episodes of {found['mean_length']:.1f} titles on average")
print(f"{asked.calls} calls, {found['invented_share']:.0%} invented, replayed alike: {same}")
