/* A figure that is drawn for a wide page: a press (or Enter) shows it at twice its width, scrolling in its own box. */
"use strict";

addEventListener("DOMContentLoaded", () => {
  const figures = "article img.sphx-glr-single-img, article img.sphx-glr-multi-img, article figure img";
  for (const image of document.querySelectorAll(figures)) {
    if (image.closest("a")) continue;
    const box = document.createElement("span");
    box.className = "zoom";
    image.replaceWith(box);
    box.append(image);
    Object.assign(image, { tabIndex: 0, title: "Press to enlarge" });
    image.setAttribute("role", "button");
    const toggle = () => box.classList.toggle("enlarged");
    image.addEventListener("click", toggle);
    image.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      toggle();
    });
  }
});
