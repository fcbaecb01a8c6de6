package bpf

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Interfaces returns the names of the interfaces that own the listen addresses,
// sorted. A wildcard stands for those with a default route of its family, an
// IPv6 wildcard for both. Loopback is never among them.
func Interfaces(addrs []netip.AddrPort) ([]string, error) {
	names := map[string]bool{}
	for _, a := range addrs {
		addr := a.Addr().Unmap().WithZone("")
		if addr.IsUnspecified() {
			if err := routed(names, addr.Is6()); err != nil {
				return nil, err
			}
			continue
		}
		if err := owning(names, addr); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

func owning(names map[string]bool, addr netip.Addr) error {
	nics, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list the interfaces: %w", err)
	}
	for _, nic := range nics {
		own, err := nic.Addrs()
		if err != nil {
			return fmt.Errorf("list the addresses of %s: %w", nic.Name, err)
		}
		for _, o := range own {
			p, err := netip.ParsePrefix(o.String())
			if err == nil && p.Addr().Unmap() == addr {
				if nic.Flags&net.FlagLoopback == 0 {
					names[nic.Name] = true
				}
				return nil
			}
		}
	}
	if addr.IsLoopback() {
		return nil
	}
	return fmt.Errorf("no interface has the listen address %s", addr)
}

func routed(names map[string]bool, both bool) error {
	families := []int{netlink.FAMILY_V4}
	if both {
		families = append(families, netlink.FAMILY_V6)
	}
	for _, family := range families {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return fmt.Errorf("list the routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones != 0 {
					continue
				}
			}
			hops := []int{r.LinkIndex}
			for _, h := range r.MultiPath {
				hops = append(hops, h.LinkIndex)
			}
			for _, i := range hops {
				if nic, err := net.InterfaceByIndex(i); err == nil && nic.Flags&net.FlagLoopback == 0 {
					names[nic.Name] = true
				}
			}
		}
	}
	return nil
}
