import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2023",
    // One script and no lazy parts, so there is nothing to preload.
    modulePreload: false,
    // For reading a stack trace at home; public/.assetsignore keeps them from being published.
    sourcemap: "hidden",
  },
});
