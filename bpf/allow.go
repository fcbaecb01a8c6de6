package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"
)

// AllowOnly is Allow for all of a list, and takes back what was allowed before:
// also what an earlier process has left behind.
func (s *Screen) AllowOnly(list []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[screenPrefix]bool{}
	var errs []error
	for _, p := range list { // first these, so that none is kept out meanwhile
		errs = append(errs, s.Allow(p))
		if p, err := canonical(p); err == nil {
			wanted[prefixOf(p)] = true
		}
	}
	var key screenPrefix
	var value uint64
	var gone []screenPrefix
	it := s.objects.Allow.Iterate()
	for it.Next(&key, &value) {
		if !wanted[key] {
			gone = append(gone, key)
		}
	}
	errs = append(errs, it.Err())
	for _, k := range gone {
		errs = append(errs, absent(s.objects.Allow.Delete(k)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("allow only: %w", err)
	}
	return nil
}

// AllowOnly is Allow for all of a list, and takes back what was allowed before.
func (s *Soft) AllowOnly(list []netip.Prefix) error {
	next := new(bart.Lite)
	for _, p := range list {
		p, err := canonical(p)
		if err != nil {
			return fmt.Errorf("allow only: %w", err)
		}
		next.Insert(p)
	}
	if next.Size() > s.config.MaxAllow {
		return full("allowed prefixes", s.config.MaxAllow)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow = next
	return nil
}
