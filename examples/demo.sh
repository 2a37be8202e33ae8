#!/bin/sh
# make demo: builds a real open-source project, fetched through the Go module proxy.
set -eu
cd "$(dirname "$0")/.."
module=github.com/google/uuid
version=v1.6.0

echo "Fetching $module $version ..."
(cd / && go mod download "$module@$version")
src=dist/demo/uuid
rm -rf dist/demo
mkdir -p dist/demo
cp -R "$(go env GOMODCACHE)/$module@$version" "$src"
chmod -R u+w "$src"
cp examples/demo.yml "$src/buildspec.yml"

echo "\$ sluice run $src"
./sluice run "$src"

cat <<END

That was $module, with its own tests, in a sandbox of this machine (./sluice doctor tells which).
What the build left:

$(find "$src/.sluice/build.json" "$src/.sluice/build.log" "$src/.sluice/artifacts" -type f | sed 's/^/  /')

Look at the buildspec ($src/buildspec.yml), break a test and run it again,
or build a project of yours: ./sluice run DIR. See docs/first-build.md.
END
