"""Write the sentences of the miniature web: one for each described picture, and fillers on other subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from mmc4_pipeline.miniweb.drawing import Scene

# Filler sentences do not use the words for colours, shapes and textures: only a picture's own sentence describes it.
_SHAPE_WORDS = {
    "circle": ("circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross",),
    "heart": ("heart",),
    "ring": ("ring", "hoop"),
    "arrow": ("arrow",),
}
_TEXTURE_WORDS = {
    "plain": ("plain {}", "solid {}"),
    "striped": ("striped {}", "{} with stripes"),
    "dotted": ("dotted {}", "spotted {}", "{} with dots"),
    "checked": ("checked {}", "chequered {}", "{} with checks"),
}
_SIZES = ("large", "small", "broad", "neat", "bold", "handmade", "famous", "painted", "wooden", "paper")
_PLACES = (
    "near the entrance", "above the bench", "beside the stairs", "on the north wall", "behind the counter",
    "under the clock", "next to the fountain", "opposite the library", "at the end of the hall", "over the fireplace",
    "in the reading room", "by the garden gate", "on the first floor", "in the workshop", "outside the bakery",
    "along the harbour walk", "in the shop window", "between the two doors", "at the back of the studio",
    "on the ferry landing",
)  # fmt: skip
_VERBS = ("hangs", "stands", "can be seen", "was put up last year", "still attracts visitors", "has its own frame")
_SCENE_FORMS = (
    "{Place} a {size} {thing} {verb}.",
    "A {size} {thing} {verb} {place}.",
    "Visitors like the {size} {thing} {place}.",
    "The picture shows a {size} {thing} {place}.",
    "You will find a {size} {thing} {place}.",
    "Our favourite is the {size} {thing} {place}.",
    "Look for the {size} {thing} {place}.",
    "This {size} {thing} {verb} {place}.",
    "Someone hung a {size} {thing} {place}.",
    "It took a week to finish the {size} {thing} {place}.",
)
_FACE_FORMS = (
    "A cheerful {colour} face smiles {place}.",
    "{Place} a smiling {colour} face greets everyone.",
    "The {colour} face {place} has a friendly smile.",
    "Children wave at the {colour} smiling face {place}.",
    "Everybody knows the happy {colour} face {place}.",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "March", "April", "June", "July", "September", "October", "November")
_NAMES = ("Anna", "Marta", "Owen", "Ivan", "Grace", "Tobias", "Leila", "Hugo", "Nora", "Felix")
_TOWNS = ("Easthaven", "Millbrook", "Thornfield", "Westerby", "Kingsmere", "Oldbridge")
_FILLER_FORMS = (
    "The museum opens at {hour} in the morning on {day}.",
    "We are closed on {day} and on public holidays.",
    "Last admission is {minutes} minutes before closing.",
    "Rain is expected in {town} until {day} evening.",
    "The weather in {month} was milder than usual.",
    "A light wind from the west kept {town} cool all week.",
    "The building dates from {year} and was restored by {name}.",
    "In {year} the old school moved to {town}.",
    "{name} founded the society in {year} with {number} members.",
    "Today the society has more than {number} members.",
    "Buses to {town} leave every {minutes} minutes.",
    "Parking costs {number} crowns an hour on {day}.",
    "The train from {town} was late again on {day}.",
    "{name} and {other} run the tea room together.",
    "Soup and fresh bread are served until {hour} in the afternoon.",
    "The recipe asks for {number} grams of flour and a little salt.",
    "Tickets can be booked by telephone until {day}.",
    "School groups are asked to write to {name} first.",
    "The annual meeting takes place in {month} in {town}.",
    "{name} wrote a short book about the history of {town}.",
    "Volunteers are welcome every {day} after {hour}.",
    "The newsletter is posted to {number} households in {month}.",
    "Repairs to the roof began in {month} and took {number} days.",
    "Many thanks to {name} for the generous donation.",
    "The choir of {town} sings here on the first {day} of the month.",
    "A lecture by {name} on local trade starts at {hour}.",
    "Dogs must be kept on a lead in {month}.",
    "The lift is out of order until {day}.",
    "Comments and questions can be left with {name} at the desk.",
    "Snow closed the road to {town} for {number} days in {year}.",
    "Membership is free for students from {town}.",
    "The next course begins on {day} and has {number} places.",
    "According to {name} the trip to {town} takes {minutes} minutes.",
    "Prices have not changed since {month}.",
    "The harvest of {year} was the best in {number} years.",
    "Please bring warm clothes and sturdy boots on {day}.",
)


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """Return a sentence with the scene's colour, shape and texture (for a face its colour), in varying words."""
    place = _pick(rng, _PLACES)
    slots = {"place": place, "Place": place[0].upper() + place[1:], "colour": scene.colour}
    if scene.shape == "face":
        return _pick(rng, _FACE_FORMS).format(**slots)
    noun = f"{scene.colour} {_pick(rng, _SHAPE_WORDS[scene.shape])}"
    thing = _pick(rng, _TEXTURE_WORDS[scene.texture]).format(noun)
    return _pick(rng, _SCENE_FORMS).format(thing=thing, size=_pick(rng, _SIZES), verb=_pick(rng, _VERBS), **slots)


def filler(rng: np.random.Generator) -> str:
    """Return a sentence on the weather, opening hours, history and the like, which does not describe any picture."""
    name, other = rng.permutation(_NAMES)[:2]
    return _pick(rng, _FILLER_FORMS).format(
        name=name,
        other=other,
        day=_pick(rng, _DAYS),
        month=_pick(rng, _MONTHS),
        town=_pick(rng, _TOWNS),
        hour=_pick(rng, ("eight", "nine", "ten", "eleven", "two", "four", "five")),
        minutes=int(rng.integers(2, 13)) * 5,
        number=int(rng.integers(3, 400)),
        year=int(rng.integers(1790, 2019)),
    )


def paragraphs(described: Sequence[str], fillers: int, rng: np.random.Generator) -> list[list[str]]:
    """Mix the described pictures' sentences with `fillers` others, and return paragraphs of 1 to 4 sentences."""
    sentences = list(dict.fromkeys(described))
    total = len(sentences) + fillers
    while len(sentences) < total:
        candidate = filler(rng)
        if candidate not in sentences:
            sentences.append(candidate)
    mixed = [sentences[i] for i in rng.permutation(total)]
    made: list[list[str]] = []
    while mixed:
        length = int(rng.integers(1, 5))
        made.append(mixed[:length])
        mixed = mixed[length:]
    return made
