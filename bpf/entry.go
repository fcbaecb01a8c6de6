package bpf

import (
	"errors"
	"fmt"
)

var errNoSource = errors.New("the source address is not valid")

// full is the error of a map at its bound.
func full(what string, limit int) error {
	return fmt.Errorf("no room for more %s than %d: sweep, or raise the setting", what, limit)
}

func (p Port) mask() uint8 {
	var m uint8
	if p.UDP {
		m |= guardUDP
	}
	if p.TCP {
		m |= guardTCP
	}
	return m
}

func numberSet(digits []string) (map[screenNumber]struct{}, error) {
	set := make(map[screenNumber]struct{}, len(digits))
	for _, d := range digits {
		n, err := number(d)
		if err != nil {
			return nil, err
		}
		set[n] = struct{}{}
	}
	if len(set) > MaxNumbers {
		return nil, full("emergency numbers", MaxNumbers)
	}
	return set, nil
}
