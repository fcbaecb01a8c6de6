package numbers

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// longestText is how many octets of a dialled text are looked at. Nobody dials
// more, so a longer one is doubtful as it is.
const longestText = 512

// A line is a dialled text character by character, in an alphabet of its own:
// digits, * # and + stand for themselves, letters for themselves in lower case, and
// all else for one of the symbols below.
type line struct {
	room  [longestText]byte
	n     int  // characters in room
	modes mode // what there is to leave out
}

func (l *line) text() []byte { return l.room[:l.n] }

func (l *line) put(symbol byte) {
	if l.n < len(l.room) {
		l.room[l.n] = symbol
		l.n++
	}
}

const (
	gap         byte = '-'  // a visual separator: no reader minds it
	slash       byte = '/'  // stands in names and between the parts of a number
	pause       byte = ','  // a pause, or what no number has: readers stop or skip here
	letter      byte = '?'  // a letter that no keypad has
	maybeZero   byte = 'O'  // the zero of "+44 (0)20", which is dialled within the country
	foreignZero byte = 0x80 // with a digit: one of another script, which few readers know
)

// A mode is a way to read a line: what is kept of it, and what is not.
type mode uint8

const (
	withCodes      mode = 1 << iota // keep * and #
	withoutForeign                  // leave digits of other scripts out
	withoutMaybe                    // leave the zero in brackets out
	modes
)

// add appends characters that have no escapes.
func (l *line) add(text []byte) {
	digits := false
	for len(text) > 0 {
		if digits && bytes.HasPrefix(text, []byte("(0)")) {
			l.put(maybeZero)
			text = text[len("(0)"):]
			l.modes |= withoutMaybe
			continue
		}
		c, n := utf8.DecodeRune(text)
		s := symbol(c)
		if c == utf8.RuneError && n == 1 {
			s = pause
		}
		switch {
		case s == '*' || s == '#':
			l.modes |= withCodes
		case s >= foreignZero:
			l.modes |= withoutForeign
			digits = true
		case isDigit(s):
			digits = true
		}
		l.put(s)
		text = text[n:]
	}
}

func symbol(c rune) byte {
	if '！' <= c && c <= '～' { // full width
		if '０' <= c && c <= '９' {
			return foreignZero | byte(c-'０')
		}
		c -= '！' - '!'
	}
	switch {
	case '0' <= c && c <= '9', c == '*', c == '#', c == '+', 'a' <= c && c <= 'z':
		return byte(c)
	case 'A' <= c && c <= 'Z':
		return byte(c) | 0x20
	case c == '-', c == '.', c == '(', c == ')', c == ' ':
		return gap
	case c == '/', c == '_':
		return slash
	case c < utf8.RuneSelf:
		return pause
	case unicode.In(c, unicode.Zs, unicode.Pd):
		return gap
	case unicode.IsLetter(c):
		return letter
	}
	if d, ok := foreignDigit(c); ok {
		return foreignZero | d
	}
	return pause
}

// foreignDigit is the value of a decimal digit of any script: they stand in tens,
// and the ranges of the table begin with a zero (Unicode, section 4.6).
func foreignDigit(c rune) (byte, bool) {
	for _, r := range unicode.Nd.R16 {
		if rune(r.Lo) <= c && c <= rune(r.Hi) {
			return byte((c - rune(r.Lo)) % 10), true
		}
	}
	for _, r := range unicode.Nd.R32 {
		if rune(r.Lo) <= c && c <= rune(r.Hi) {
			return byte((c - rune(r.Lo)) % 10), true
		}
	}
	return 0, false
}

// digits is what a reader makes of a part of a line who takes the digits and drops
// the rest, but for a plus before them.
func (l *line) digits(room *[maxDialed]byte, from, to int, m mode) []byte {
	out := room[:0]
	for _, s := range l.room[from:to] {
		switch {
		case isDigit(s):
			out = fitting(out, s)
		case s >= foreignZero && m&withoutForeign == 0:
			out = fitting(out, s&^foreignZero+'0')
		case s == maybeZero && m&withoutMaybe == 0:
			out = fitting(out, '0')
		case (s == '*' || s == '#') && m&withCodes != 0:
			out = fitting(out, s)
		case s == '+' && len(out) == 0:
			out = append(out, s)
		}
		if len(out) == cap(out) {
			break
		}
	}
	return out
}

// spelled is the digits of a line with letters as the keys that they stand on
// (ITU-T E.161), nothing if that is too long for a number.
func (l *line) spelled(room *[maxDialed]byte) []byte {
	const keys = "22233344455566677778889999"
	out := room[:0]
	for _, s := range l.text() {
		switch {
		case isDigit(s):
			out = append(out, s)
		case isLetter(s) && s != letter:
			out = append(out, keys[s-'a'])
		case s == '+' && len(out) == 0:
			out = append(out, s)
		}
		if len(out) > longestNumber+len("+011") {
			return nil
		}
	}
	return out
}

// longestNumber is how many digits a number of E.164 has at most.
const longestNumber = 15

func isDigit(s byte) bool  { return '0' <= s && s <= '9' }
func isLetter(s byte) bool { return 'a' <= s && s <= 'z' || s == letter }
func dials(s byte) bool    { return isDigit(s) || s >= foreignZero || s == maybeZero }

// A breach is a place in a line between two runs of digits where readers part.
type breach struct {
	from, to int  // what stands between, without the separators around
	plus     int  // the last plus in it, -1 if there is none
	hard     bool // more stands there than * # / _ and a plus
	letters  bool
	name     bool // letters that are no pause
}

// next is the breach at or after from; false if there is none.
func (l *line) next(from int) (b breach, ok bool) {
	for from < l.n && (dials(l.room[from]) || l.room[from] == gap) {
		from++
	}
	if from == l.n {
		return b, false
	}
	b = breach{from: from, to: from, plus: -1}
	for b.to < l.n && !dials(l.room[b.to]) {
		s := l.room[b.to]
		switch {
		case isLetter(s):
			start := b.to
			for b.to < l.n && isLetter(l.room[b.to]) {
				b.to++
			}
			b.letters, b.hard = true, true
			b.name = b.name || !pausing(l.room[start:b.to])
			continue
		case s == '+':
			b.plus = b.to
		case s == pause:
			b.hard = true
		}
		b.to++
	}
	return b, true
}

// mostBreaches is how often readers may part in one text. Nobody dials anything that
// is more broken, and to read that in every way is what an attacker would have us do.
const mostBreaches = 32

// broken tells whether there are more breaches than that.
func (l *line) broken() bool {
	n := 0
	for b, ok := l.next(0); ok; b, ok = l.next(b.to) {
		if n++; n > mostBreaches {
			return true
		}
	}
	return false
}

// nameAt is where the next letters of a name begin, or the end.
func (l *line) nameAt(from int) int {
	for b, ok := l.next(from); ok; b, ok = l.next(b.to) {
		if b.name {
			return b.from
		}
	}
	return l.n
}

// pausing tells whether letters are a pause (RFC 2806 section 2.2, and what modems
// call wait) or the beginning of an extension.
func pausing(word []byte) bool {
	switch string(word) {
	case "ext", "extn", "extension":
		return true
	}
	return len(bytes.Trim(word, "pwx")) == 0
}

// unescape undoes the escapes of a text in place of dst (RFC 3986 section 2.1). What
// is no escape stays. It tells whether there were any.
func unescape(dst, text []byte) (out []byte, any bool) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' && i+2 < len(text) {
			high, ok := nibble(text[i+1])
			low, ok2 := nibble(text[i+2])
			if ok && ok2 {
				c, any = high<<4|low, true
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst, any
}

// uuid tells whether a name is one (RFC 9562 section 4), with its dashes or without,
// and not of digits alone.
func uuid(name []byte) bool {
	if len(name) != 36 && len(name) != 32 {
		return false
	}
	letters := false
	for i, c := range name {
		if len(name) == 36 && (i == 8 || i == 13 || i == 18 || i == 23) {
			if c != '-' {
				return false
			}
			continue
		}
		if _, ok := nibble(c); !ok {
			return false
		}
		letters = letters || c > '9'
	}
	return letters
}
