import { request } from "node:http";
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

export default defineConfig({
  plugins: [svelte(), gatewaySocket()],
  build: { target: "es2022", assetsInlineLimit: 0, cssCodeSplit: true, modulePreload: { polyfill: false } },
  test: { include: ["tests/unit/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
