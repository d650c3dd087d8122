// The chosen colour theme. Loaded before the page is painted, hence no module; without a choice the system's theme holds.
(() => {
  const KEY = "shopstream.theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  /** Storage may be forbidden; then the choice lasts as long as the page. */
  function remembered() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  function announce() {
    root.dispatchEvent(new CustomEvent("themechange"));
  }

  const theme = remembered();
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  system.addEventListener("change", announce);

  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme-toggle")?.addEventListener("click", () => {
      const current = root.dataset.theme ?? (system.matches ? "dark" : "light");
      root.dataset.theme = current === "dark" ? "light" : "dark";
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // Not remembered then; see above.
      }
      announce();
    });
  });
})();
