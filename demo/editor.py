"""Drives Label Studio's editor as an annotator does: clicks in a headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, sync_playwright

from demo.label_studio import EMAIL, PASSWORD

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TIMEOUT_MS = 60_000
_SMART_BUTTON = ".lsf-tool_smart .lsf-tool__icon"
_IMAGE = "window.Htx.annotationStore.selected.names.get('image')"
_SUGGESTIONS = "window.Htx.annotationStore.selected.suggestions.size"


@contextmanager
def headless_chromium() -> Iterator[Browser]:
    """Run a headless Chromium. Playwright allows one at a time in a thread.

    Raises:
        FileNotFoundError: Chromium is not installed.
    """
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        raise FileNotFoundError("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Editor:
    """One browser window. Coordinates are percent of the image, as in Label Studio's regions."""

    def __init__(self, label_studio_url: str, browser: Browser) -> None:
        self._url = label_studio_url
        self._page = browser.new_page(viewport={"width": 1400, "height": 900})
        self._page.set_default_timeout(_TIMEOUT_MS)

    def log_in(self) -> None:
        """Log in as the only user of Label Studio."""
        self._page.goto(f"{self._url}/user/login/")
        self._page.fill("input[name=email]", EMAIL)
        self._page.fill("input[name=password]", PASSWORD)
        self._page.locator("form button[type=submit]").first.click()
        self._page.wait_for_url(lambda url: "login" not in url, wait_until="domcontentloaded")

    def open(self, project_id: int, task_id: int) -> None:
        """Open a task, with Auto-Annotation on."""
        self._page.goto(
            f"{self._url}/projects/{project_id}/data?task={task_id}", wait_until="domcontentloaded"
        )
        self._page.wait_for_selector(".konvajs-content canvas")
        self._page.wait_for_function(f"() => {_IMAGE}?.naturalWidth > 1 && {_IMAGE}.imageIsLoaded")
        toggle = self._page.locator("[data-testid=bottombar-auto-annotation-toggle]")
        toggle.wait_for(state="attached")
        for _ in range(10):  # a click is lost while the page is still being built
            if self._page.evaluate("() => window.Htx.autoAnnotation"):
                break
            toggle.click(force=True)
            self._page.wait_for_timeout(1000)
        self._page.wait_for_function("() => window.Htx.autoAnnotation")

    def choose(self, tool: str, label: str) -> None:
        """Choose a smart tool ("KeyPoint" or "Rectangle") and the label it works with."""
        wanted = f"{tool}Tool-dynamic"
        button = self._page.locator(_SMART_BUTTON).first
        for _ in range(8):  # the button goes through the smart tools one by one
            selected = self._page.evaluate(
                f"() => {_IMAGE}.getToolsManager().allTools()"
                ".filter(tool => tool.selected).map(tool => tool.fullName)"
            )
            if wanted in selected:
                break
            button.click()
        else:
            raise RuntimeError(f"the editor has no tool {wanted}")
        self._choose_label(label)

    def choose_first(self, label: str) -> None:
        """Click the smart tool's icon, and then a label of the first row, as README.md says."""
        self._page.locator(_SMART_BUTTON).first.click()
        self._page.locator(".lsf-labels").first.locator(".lsf-label", has_text=label).click()

    def click(self, x: float, y: float, *, negative: bool = False) -> dict[str, Any]:
        """Place a smart keypoint; returns the backend's prediction."""

        def act() -> None:
            if negative:
                self._page.keyboard.down("Alt")
            self._page.mouse.click(*self._on_screen(x, y))
            if negative:
                self._page.keyboard.up("Alt")

        return self._predicted(act)

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
        """Draw a smart rectangle; returns the backend's prediction."""

        def act() -> None:
            mouse = self._page.mouse
            mouse.move(*self._on_screen(x0, y0))
            mouse.down()
            mouse.move(*self._on_screen(x1, y1), steps=10)
            mouse.up()

        return self._predicted(act)

    def accept(self) -> None:
        """Accept the suggestions."""
        self._page.locator("[data-testid=bottombar-accept-suggestions-button]").click()
        self._page.wait_for_function(f"() => {_SUGGESTIONS} === 0")

    def reject(self) -> None:
        """Throw the suggestions away."""
        self._page.locator("[data-testid=bottombar-reject-suggestions-button]").click()
        self._page.wait_for_function(f"() => {_SUGGESTIONS} === 0")

    def erase(self, region_id: str, x0: float, y0: float, x1: float, y1: float) -> None:
        """Erase a part of the mask of a brush region along a line."""
        self._page.evaluate(
            f"""id => {{
                const annotation = window.Htx.annotationStore.selected;
                annotation.selectArea(annotation.regions.find(r => r.cleanId === id));
                const tools = {_IMAGE}.getToolsManager();
                tools.selectTool(tools.allTools().find(t => t.fullName === 'EraserTool'), true);
            }}""",
            region_id,
        )
        touches = (
            "id => window.Htx.annotationStore.selected.regions"
            ".find(r => r.cleanId === id).touches.length"
        )
        mouse, before = self._page.mouse, self._page.evaluate(touches, region_id)
        mouse.move(*self._on_screen(x0, y0))
        mouse.down()
        mouse.move(*self._on_screen(x1, y1), steps=10)
        mouse.up()
        self._page.wait_for_function(
            f"([id, before]) => ({touches})(id) > before", arg=[region_id, before]
        )

    def submit(self) -> None:
        """Submit the annotation."""
        with self._page.expect_response(
            lambda r: r.request.method == "POST" and "/annotations" in r.url
        ) as response:
            self._page.get_by_role("button", name="Submit").click()
        if not response.value.ok:
            raise RuntimeError(f"submitting was answered with {response.value.status}")

    def rotate(self) -> None:
        """Turn the view by 90 degrees clockwise; needs rotateControl="true"."""
        before = self._page.evaluate(f"() => {_IMAGE}.rotation")
        self._page.get_by_label("rotate-right").click()
        self._page.wait_for_function(
            f"before => {_IMAGE}.rotation === (before + 90) % 360", arg=before
        )

    def turn_to_page(self, index: int) -> None:
        """Show another image of a list."""
        # Again until it holds: an editor that is still being built goes back to the first image.
        for _ in range(10):
            self._page.wait_for_function(
                f"""index => {{
                    if ({_IMAGE}.currentImage !== index) {_IMAGE}.setCurrentImage(index);
                    return {_IMAGE}.currentImage === index && {_IMAGE}.imageIsLoaded;
                }}""",
                arg=index,
            )
            self._page.wait_for_timeout(500)
            if self._page.evaluate(f"() => {_IMAGE}.currentImage") == index:
                return
        raise RuntimeError(f"the editor goes back from image {index} of the list, again and again")

    def screenshot(self, path: Path) -> None:
        """Write a picture of the window to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._page.screenshot(path=path)

    def _choose_label(self, label: str) -> None:
        """Choose the label for the selected tool. The editor forgets it after each region."""
        control = self._page.evaluate(
            f"() => {_IMAGE}.getToolsManager().allTools().find(tool => tool.selected).control.name"
        )
        names: list[str] = self._page.evaluate(
            "() => [...window.Htx.annotationStore.selected.names.values()]"
            ".filter(tag => tag.type.endsWith('labels')).map(tag => tag.name)"
        )
        row = names.index(control) if control in names else 0
        option: Locator = self._page.locator(".lsf-labels").nth(row)
        option = option.locator(".lsf-label", has_text=label).first
        if "lsf-label_selected" not in (option.get_attribute("class") or ""):
            option.click()
        self._page.wait_for_function(
            "label => [...window.Htx.annotationStore.selected.names.values()]"
            ".some(tag => tag.selectedLabels?.some(one => one.value === label))",
            arg=label,
        )

    def _predicted(self, act: Callable[[], None]) -> dict[str, Any]:
        """Do something that asks the backend, and wait until the answer is on the screen."""
        with self._page.expect_response(lambda r: "interactive-annotating" in r.url) as response:
            act()
        answer = response.value.json()
        if answer.get("errors"):
            raise RuntimeError(f"Label Studio says: {answer['errors']}")
        prediction: dict[str, Any] = answer["data"]
        wanted = [region["id"] for region in prediction["result"]]
        self._page.wait_for_function(
            "ids => {const s = window.Htx.annotationStore.selected.suggestions;"
            " return ids.every(id => [...s.values()].some(r => r.cleanId === id))}",
            arg=wanted,
        )
        return prediction

    def _on_screen(self, x: float, y: float) -> tuple[float, float]:
        """From percent of the image to pixels of the window."""
        position: list[float] = self._page.evaluate(
            f"""([x, y]) => {{
                const image = {_IMAGE};
                const canvas = document.querySelector('.konvajs-content').getBoundingClientRect();
                const point = image.stageRef.getAbsoluteTransform().point({{
                    x: x / 100 * image.stageWidth,
                    y: y / 100 * image.stageHeight,
                }});
                return [canvas.x + point.x, canvas.y + point.y];
            }}""",
            [x, y],
        )
        return position[0], position[1]
