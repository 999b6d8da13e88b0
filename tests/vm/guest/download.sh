#!/bin/sh
# Called by mmdebstrap with the new root; fetches packages that are unpacked, not installed: the kernels, so that no
# initramfs is generated twice, and the initramfs' busybox. Each of $PLIMSOLL_PACKAGES goes to a folder of its name
# below $PLIMSOLL_DOWNLOAD; a kernel's metapackage stands for the kernel that it depends on.
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
for package in $PLIMSOLL_PACKAGES; do
  mkdir "$PLIMSOLL_DOWNLOAD/$package"
  cd "$PLIMSOLL_DOWNLOAD/$package"
  case $package in
    linux-image-*) package=$(apt-cache depends --important "$package" | sed -n 's/^ *Depends: //p') ;;
  esac
  apt-get -o APT::Sandbox::User=root download -q "$package"
done
