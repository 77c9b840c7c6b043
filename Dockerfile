# syntax=docker/dockerfile:1

# All packages. Their install scripts do not run: argon2 brings binaries, and what is faster is built below.
FROM node:26-bookworm-slim AS packages
WORKDIR /app
RUN apt-get update \
  && apt-get install --yes --no-install-recommends g++ make python3 \
  && rm -rf /var/lib/apt/lists/*
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
# More than twice the logins per core of the binary that argon2 brings. x86-64-v3 is every server processor since about
# 2015 (AVX2); build with `--build-arg ARGON2_MARCH=x86-64-v2` for older ones. Others keep the binary that it brings.
ARG ARGON2_MARCH=x86-64-v3
RUN if [ "$(dpkg --print-architecture)" = amd64 ]; then \
    MARCH="$ARGON2_MARCH" npm run argon2:native -- --nodedir=/usr/local \
    && rm -rf node_modules/argon2/build/Release/obj.target node_modules/argon2/build/Release/.deps; \
  fi

# The suite, for the profile `test` of docker-compose.yml.
FROM packages AS test
COPY . .
RUN npm run prepare && mkdir -p .build .tap dist && chown -R node:node /app/.build /app/.tap /app/dist && chown node:node /app
USER node
CMD ["npm", "test"]

FROM packages AS build
COPY tsconfig.json tsconfig.build.json ./
COPY prisma prisma
COPY src src
# `optional` too: typescript and prisma are optional companions of the Prisma client, and nothing else is.
RUN npm run build \
  && npm prune --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

# What runs: compiled code, its packages, the migrations. Nothing in it belongs to the user it runs as, so it may be
# mounted read-only.
FROM node:26-bookworm-slim
LABEL org.opencontainers.image.title="Doorstep" \
  org.opencontainers.image.description="A self-hosted login service that protects sign-in with a second factor." \
  org.opencontainers.image.version="1.0.0" \
  org.opencontainers.image.licenses="MIT"
# The allocator keeps one arena for the hashing threads: 19 MiB each would otherwise stay with every one of them. There are
# more threads than hashes at once, so that names can be looked up and files read meanwhile; set it for over 15 cores.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000 UV_THREADPOOL_SIZE=16 \
  MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=67108864 MALLOC_MMAP_THRESHOLD_=33554432
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/prisma/migrations prisma/migrations
COPY --from=build /app/dist dist
USER node
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/live`).then((it) => process.exit(it.ok ? 0 : 1), () => process.exit(1))"]
# With little room to grow in, garbage is collected early and the process stays small.
CMD ["node", "--max-old-space-size=256", "--max-semi-space-size=8", "dist/main.js"]
