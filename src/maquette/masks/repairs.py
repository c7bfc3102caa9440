"""repairs.json: the marks by which single photos of complete masks were made anew."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Repairs:
    """Boxes (photo, x0, y0, x1, y1) and clicks (photo, x, y, + or -), as typed."""

    prompt: tuple[tuple[str, float, float, float, float], ...] = ()
    click: tuple[tuple[str, ...], ...] = ()

    def joined(
        self, prompt: tuple[tuple[str, float, float, float, float], ...], click: tuple[tuple[str, ...], ...]
    ) -> "Repairs":
        """With newer marks, which replace the older ones of the same photos."""
        newer = {words[0] for words in (*prompt, *click)}
        return Repairs(
            (*(words for words in self.prompt if words[0] not in newer), *prompt),
            (*(words for words in self.click if words[0] not in newer), *click),
        )

    def options(self) -> list[str]:
        """The options that make them again."""
        boxes = [f"--masks.prompt {name} {' '.join(f'{v:g}' for v in box)}" for name, *box in self.prompt]
        return [*boxes, *(f"--masks.click {' '.join(words)}" for words in self.click)]
