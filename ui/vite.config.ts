import { readdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

/** Development only: hands /api over to a gateway's socket, as its operator. */
function gatewaySocket(): Plugin {
  const socketPath = process.env.HEARTHKEY_SOCKET;
  return {
    name: "gateway-socket",
    apply: "serve",
    configureServer(server) {
      server.middlewares.use((asked, answer, next) => {
        if (!socketPath || !/^\/(api|\.well-known)\//.test(asked.url ?? "")) return next();
        const { host: _host, ...headers } = asked.headers;
        const onward = request(
          { socketPath, path: asked.url, method: asked.method, headers: { ...headers, host: "localhost" } },
          (answered) => {
            answer.writeHead(answered.statusCode ?? 502, answered.headers);
            answered.pipe(answer);
          },
        );
        onward.on("error", () => answer.writeHead(502).end());
        asked.pipe(onward);
      });
    },
  };
}

/** The licenses of everything that is shipped, the font among it, beside it: they ask for that. */
function licenses(): Plugin {
  return {
    name: "licenses",
    apply: "build",
    generateBundle() {
      const shipped = new Map<string, string>();
      for (const id of this.getModuleIds()) {
        const found = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(id.replaceAll("\0", ""));
        if (found?.[1] && found[2]) shipped.set(found[2], found[1]);
      }
      const texts = [...shipped].sort().map(([name, directory]) => {
        const file = readdirSync(directory).find((one) => /^licen[cs]e/i.test(one));
        if (!file) throw new Error(`${name} is shipped and has no license`);
        return `${name}\n${"=".repeat(name.length)}\n\n${readFileSync(join(directory, file), "utf8").trim()}\n`;
      });
      this.emitFile({ type: "asset", fileName: "licenses.txt", source: texts.join("\n\n") });
    },
  };
}

export default defineConfig({
  plugins: [svelte(), gatewaySocket(), licenses()],
  build: { target: "es2022", assetsInlineLimit: 0, cssCodeSplit: true, modulePreload: { polyfill: false } },
  test: { include: ["tests/unit/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
