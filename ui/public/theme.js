// Before the first paint: the theme that was chosen on this browser, if one was.
(function () {
  try {
    var theme = localStorage.getItem("hearthkey.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch (error) {
    // Storage is off: the system's choice holds.
  }
})();
