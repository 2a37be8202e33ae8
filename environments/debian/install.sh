#!/bin/sh
# Installs the packages of an environment into a Debian 12 base. Runs as root in
# the build of the image, next to packages.txt, runtimes.yml and host/ (what the
# machine that builds has to say: its certificates).
set -eu
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive

# The base may have come from debootstrap, with its one suite, or from a registry.
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY_MIRROR:-http://deb.debian.org/debian-security}
rm -rf /etc/apt/sources.list.d/*
cat >/etc/apt/sources.list <<-SOURCES
	deb $mirror bookworm main
	deb $mirror bookworm-updates main
	deb $mirror bookworm-backports main
	deb $security bookworm-security main
SOURCES

# Only while this runs: no documentation, no recommended extras, and the
# certificates of a proxy that looks into TLS.
cat >/etc/apt/apt.conf.d/99build <<-CONF
	APT::Install-Recommends "false";
	Acquire::Languages "none";
	Acquire::Retries "3";
	Acquire::https::CaInfo "$PWD/host/bundle.crt";
	Dpkg::Use-Pty "0";
CONF
[ -s host/bundle.crt ] || sed -i /CaInfo/d /etc/apt/apt.conf.d/99build
mkdir -p /etc/dpkg/dpkg.cfg.d
# No documentation, and no fsync for each file of an image that is thrown away if its build fails.
{
	printf 'path-exclude=/usr/share/%s/*\n' doc man info locale lintian
	echo force-unsafe-io
} >/etc/dpkg/dpkg.cfg.d/build
mkdir -p /usr/share/man/man1 # some packages' scripts link into it

apt-get -qq update
# shellcheck disable=SC2046 # one word per package
apt-get -qq -y install $(sed 's/#.*//' packages.txt)

# Certificates that this machine trusts and Debian does not: builds in the image
# go through the same proxy.
if ls host/local/*.crt >/dev/null 2>&1; then
	cp host/local/*.crt /usr/local/share/ca-certificates/
fi
update-ca-certificates >/dev/null

mkdir -p /codebuild/image/config
cp runtimes.yml /codebuild/image/config/runtimes.yml
[ ! -f setup.sh ] || sh setup.sh

apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /etc/apt/apt.conf.d/99build /etc/dpkg/dpkg.cfg.d/build
