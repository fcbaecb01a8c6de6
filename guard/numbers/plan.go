package numbers

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Config is the dial plan: what the PBX behind makes of dialled digits. The zero
// value works: international prefixes 00 and 011, and bare numbers of 8 digits or
// more taken as international.
type Config struct {
	Country       string   `yaml:"country"`          // ISO 3166-1 alpha-2, for its emergency numbers
	CountryCode   string   `yaml:"country_code"`     // "371"; set, bare numbers are national
	National      string   `yaml:"national"`         // national prefix, "0", "1" or "8"; default none
	International []string `yaml:"international"`    // prefixes; default 00, and 011 unless country_code is not 1
	OutsideLines  []string `yaml:"outside_lines"`    // prefixes for an outside line, "9" or "0"; default none
	Extension     int      `yaml:"extension_digits"` // digits of the longest extension: longer ones may begin with an outside line; default 5
	ServiceCodes  []string `yaml:"service_codes"`    // prefixes that change how, not whom, a call reaches; default *67 *82 *31# #31#
	// Emergency numbers by country; "*" holds everywhere. Default: 112 911 999
	// 000 110 118 119 everywhere.
	Emergency map[string][]string `yaml:"emergency"`
}

// maxDialed is how many dialled digits are looked at: 15 of E.164, and prefixes. What
// comes behind is dialled too late to change where a call goes.
const maxDialed = 64

// A plan is a checked Config.
type plan struct {
	Config
	emergency map[string]bool
}

// Fill writes out the defaults of what is not set.
func (c *Config) Fill() {
	if len(c.International) == 0 {
		// 011 begins national numbers outside North America (Leicester is 0116).
		c.International = []string{"00", "011"}
		if c.CountryCode != "" && c.CountryCode != "1" {
			c.International = []string{"00"}
		}
	}
	if c.ServiceCodes == nil {
		c.ServiceCodes = []string{"*67", "*82", "*31#", "#31#"}
	}
	if len(c.Emergency) == 0 {
		c.Emergency = map[string][]string{"*": {"112", "911", "999", "000", "110", "118", "119"}}
	}
	if c.Extension == 0 {
		c.Extension = 5
	}
}

func newPlan(c Config) (*plan, error) {
	c.Fill()
	if c.Extension < 0 || c.Extension > 15 {
		return nil, fmt.Errorf("numbers: extension_digits is %d (want 1 to 15)", c.Extension)
	}
	if c.CountryCode != "" && (!allDigits(c.CountryCode) || len(c.CountryCode) > 3 || c.CountryCode[0] == '0') {
		return nil, fmt.Errorf("numbers: country_code %q is not a country code of E.164", c.CountryCode)
	}
	if c.National != "" && (!allDigits(c.National) || c.CountryCode == "") {
		return nil, errors.New("numbers: national must be digits, and needs country_code")
	}
	for _, p := range slices.Concat(c.International, c.OutsideLines) {
		if !allDigits(p) {
			return nil, fmt.Errorf("numbers: prefix %q is not digits", p)
		}
	}
	for _, p := range c.ServiceCodes {
		if p == "" || strings.Trim(p, "0123456789*#") != "" {
			return nil, fmt.Errorf("numbers: service code %q is not of digits, * and #", p)
		}
	}
	// The longest prefix wins: 0011 before 00.
	longest := func(a, b string) int { return len(b) - len(a) }
	c.International = slices.SortedStableFunc(slices.Values(c.International), longest)
	c.OutsideLines = slices.SortedStableFunc(slices.Values(c.OutsideLines), longest)
	c.ServiceCodes = slices.SortedStableFunc(slices.Values(c.ServiceCodes), longest)
	p := &plan{Config: c, emergency: map[string]bool{}}
	for _, n := range slices.Concat(c.Emergency["*"], c.Emergency[c.Country]) {
		if !allDigits(n) {
			return nil, fmt.Errorf("numbers: emergency number %q is not digits", n)
		}
		p.emergency[n] = true
	}
	return p, nil
}

// dialed is what is left of a dialled text without escapes, visual separators
// (RFC 3966 section 5.1.1), pauses and service codes: digits, * and #, perhaps
// after a plus. It is empty for what is no number, such as a name.
//
// What stands before a plus is dropped: "0+371..." and "9,+371..." are how dial
// plans are got around, and a PBX that forwards them dials what follows.
func (p *plan) dialed(room *[maxDialed]byte, user string) []byte {
	out := room[:0]
	for i := 0; i < len(user); i++ {
		c := user[i]
		if c == '%' && i+2 < len(user) {
			high, ok := nibble(user[i+1])
			low, ok2 := nibble(user[i+2])
			if !ok || !ok2 {
				return nil
			}
			c = high<<4 | low
			i += 2
		}
		switch {
		case '0' <= c && c <= '9', c == '*', c == '#':
			out = fitting(out, c)
		case c == '+':
			out = append(out[:0], c)
		case c == ';':
			return p.uncode(out)
		case c == '-', c == '.', c == '(', c == ')', c == ' ', c == ',':
		case c == 'p' || c == 'P' || c == 'w' || c == 'W':
			if len(out) == 0 {
				return nil
			}
		default:
			return nil
		}
	}
	return p.uncode(out)
}

// fitting appends a digit while there is room. Of many zeros before a number a few
// are kept.
func fitting(d []byte, c byte) []byte {
	if len(d) == cap(d) || c == '0' && len(d) == leadingZeros && len(bytes.TrimLeft(d, "0")) == 0 {
		return d
	}
	return append(d, c)
}

// leadingZeros is more than any prefix has.
const leadingZeros = 8

func (p *plan) uncode(d []byte) []byte {
	for again := true; again; {
		again = false
		for _, code := range p.ServiceCodes {
			if len(d) > len(code) && string(d[:len(code)]) == code {
				d, again = d[len(code):], true
			}
		}
	}
	return d
}

// isEmergency tells whether dialled digits are exactly an emergency number, also
// after an outside line.
func (p *plan) isEmergency(d []byte) bool {
	if p.emergency[string(d)] {
		return true
	}
	for _, line := range p.OutsideLines {
		if len(d) > len(line) && string(d[:len(line)]) == line && p.emergency[string(d[len(line):])] {
			return true
		}
	}
	return false
}

// appendE164 appends the number in E.164 form with its plus, or nothing for an
// extension, a service and everything that is no number of E.164.
func (p *plan) appendE164(dst, d []byte) []byte {
	dst, _ = p.appendNumber(dst, p.plain(d))
	return dst
}

// appendNumber is appendE164 for digits that may stand behind a plus. It tells
// whether the number begins with a plus or an international prefix: it is then of
// the world, and not of here.
func (p *plan) appendNumber(dst, d []byte) (out []byte, global bool) {
	if len(d) > 0 && d[0] == '+' {
		if len(d) > 1 && d[1] != '0' {
			return appendGlobal(dst, d[1:]), true
		}
		d = d[1:] // "+00371...": some systems drop the plus and dial the rest
	}
	if !allDigits(string(d)) || p.emergency[string(d)] {
		return dst, false
	}
	d = p.withoutLine(d)
	if rest, ok := p.abroad(d); ok {
		// No country code begins with 0: more zeros are padding.
		return appendGlobal(dst, bytes.TrimLeft(rest, "0")), true
	}
	switch {
	case p.CountryCode == "" && (len(d) < 8 || d[0] == '0'):
		return dst, false
	case p.CountryCode == "":
		return appendGlobal(dst, d), false
	case p.National != "" && len(d) > max(p.Extension, len(p.National)) && string(d[:len(p.National)]) == p.National:
		d = d[len(p.National):]
	case len(d) <= p.Extension:
		return dst, false
	}
	var room [maxDialed + 3]byte
	return appendGlobal(dst, append(append(room[:0], p.CountryCode...), d...)), false
}

// withoutLine takes the prefix for an outside line off.
func (p *plan) withoutLine(d []byte) []byte {
	for _, line := range p.OutsideLines {
		if len(d) > max(p.Extension, len(line)) && string(d[:len(line)]) == line && !p.worldwide(d) {
			return d[len(line):]
		}
	}
	return d
}

// abroad takes the international prefix off, if there is one.
func (p *plan) abroad(d []byte) (rest []byte, ok bool) {
	for _, prefix := range p.International {
		if len(d) > len(prefix) && string(d[:len(prefix)]) == prefix {
			return d[len(prefix):], true
		}
	}
	return d, false
}

// plain takes off what stands around a number to hide it: codes of the PBX before
// it, which need not be known, such as *99*, and * or # behind it, which only end
// the dialling.
func (p *plan) plain(d []byte) []byte {
	whole := d
	for len(d) > 0 && (d[0] == '*' || d[0] == '#') {
		d = d[1:]
		for n := 0; n <= longestCode && n < len(d); n++ {
			if d[n] == '*' || d[n] == '#' {
				d = d[n:] // the code has an end
				break
			}
			if rest := d[n:]; rest[0] == '+' || len(rest) >= 8 && p.worldwide(rest) {
				d = rest
				break
			}
		}
	}
	if end := bytes.IndexAny(d, "*#"); end >= 0 {
		d = d[:end]
	}
	if len(d) < 8 && (len(d) == 0 || d[0] != '+') && len(whole) > 0 && (whole[0] == '*' || whole[0] == '#') {
		return nil // a service and no number
	}
	return d
}

// longestCode is how many digits a service code has.
const longestCode = 4

// worldwide tells whether digits begin with an international prefix as they are:
// with outside line 0, "00371..." is not line 0 and "0371...".
func (p *plan) worldwide(d []byte) bool {
	for _, prefix := range p.International {
		if len(d) > len(prefix) && string(d[:len(prefix)]) == prefix && d[len(prefix)] != '0' {
			return true
		}
	}
	return false
}

// appendGlobal appends country code and number if they can be a number of E.164, of
// which the first digit is no zero. Of more than 15 digits the first decide where a
// call goes: switches dial what they need and drop the rest.
func appendGlobal(dst, d []byte) []byte {
	d = d[:min(len(d), 15)]
	if len(d) < 4 || d[0] == '0' || !allDigits(string(d)) {
		return dst
	}
	return append(append(dst, '+'), d...)
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func nibble(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
