#!/usr/bin/env bash
# The chat page is tested in headless Chromium. Installs Debian's where that is possible; says so where it is not.
set -u
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then exit 0; fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "installing chromium for the tests of the chat page"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 && exit 0
fi
echo "no chromium here: the tests of the chat page will not run (apt-get install chromium)" >&2
