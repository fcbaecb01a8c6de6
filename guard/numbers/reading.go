package numbers

import (
	"bytes"
	"slices"
	"strings"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// A PBX reads what is dialled in a lenient way of its own: it drops what it does
// not know, or stops there, or begins there. Where readers part, every reading is
// taken down here, so that the worst of them can be judged.

// maxReadings bounds what is taken down of one text. With more it is doubtful.
const maxReadings = 8

// shortestNumber is how many digits a number has that can be dialled from abroad, as
// those of Niue. A reading with fewer is none.
const shortestNumber = 7

// A reading is one number that a text may be.
type reading struct {
	room   [1 + longestNumber]byte
	digits int // with the plus; 0: no number
	firm   bool
}

func (r *reading) number() []byte { return r.room[:r.digits] }

// readings are the numbers that a text may be. The first is what it is for a reader
// who follows the RFCs and the dial plan, perhaps none.
//
// A firm reading is one that a PBX may well have; one that is not needs a PBX that
// takes a name for a number, and counts only if it is a number that costs.
type readings struct {
	all  [maxReadings]reading
	n    int
	over bool // there are more, or more text than is looked at
}

// doubtful tells whether the text may be another number than the first reading.
func (r *readings) doubtful() bool {
	if r.over {
		return true
	}
	for i := 1; i < r.n; i++ {
		if r.all[i].firm {
			return true
		}
	}
	return false
}

func (r *readings) begin(number []byte) {
	r.n, r.over = 1, false
	r.all[0].firm = true
	r.all[0].digits = copy(r.all[0].room[:], number)
}

func (r *readings) add(number []byte, w weight) {
	if w == ignored || len(number) <= shortestNumber {
		return
	}
	for i := range r.all[:r.n] {
		if x := &r.all[i]; bytes.Equal(x.number(), number) {
			x.firm = x.firm || w == firm
			return
		}
	}
	if r.n == len(r.all) {
		r.over = true
		return
	}
	x := &r.all[r.n]
	x.digits, x.firm = copy(x.room[:], number), w == firm
	r.n++
}

// A weight says how much a reading counts.
type weight uint8

const (
	ignored weight = iota
	faint
	firm
)

// weights are those of a number of here, and of one that begins with a plus or an
// international prefix: hardly a name does.
type weights struct{ bare, global weight }

func (w weights) least(o weights) weights {
	return weights{min(w.bare, o.bare), min(w.global, o.global)}
}

var faintly = weights{faint, faint}

// take takes down what digits are, perhaps behind a plus.
func (r *readings) take(p *plan, d []byte, w weights) {
	var room [1 + longestNumber]byte
	add := func(d []byte, only bool, w weights) {
		out, global := p.appendNumber(room[:0], d)
		switch {
		case global:
			r.add(out, w.global)
		case !only:
			r.add(out, w.bare)
		}
	}
	add(d, false, w)
	if len(d) < shortestNumber {
		return
	}
	if d[0] == '+' && d[1] == '0' {
		// "+0371..." and "+011371...": readers drop the zeros or the prefix.
		r.add(appendGlobal(room[:0], bytes.TrimLeft(d[1:], "0")), w.global)
		if rest, ok := bytes.CutPrefix(d[1:], []byte("011")); ok {
			r.add(appendGlobal(room[:0], rest), w.global)
		}
		d = d[1:]
	}
	// The PBX takes one prefix off and what is behind it the next.
	rest := p.withoutLine(d)
	for range 3 {
		again, ok := p.abroad(rest)
		if !ok {
			again = p.withoutLine(rest)
		}
		if len(again) == len(rest) {
			break
		}
		rest = again
		add(rest, true, w)
	}
	if len(p.OutsideLines) == 0 && (d[0] == '9' || d[0] == '0') {
		add(d[1:], true, w.least(faintly)) // nobody told us of outside lines: these are the usual ones
	}
}

// part takes down a part of a line in every way to read it.
func (r *readings) part(p *plan, l *line, from, to int, w weights) {
	for m := range modes {
		if m&^l.modes != 0 {
			continue
		}
		weighs := w
		if m&withoutMaybe != 0 {
			weighs = w.least(faintly)
		}
		var room [maxDialed]byte
		d := l.digits(&room, from, to, m)
		if m&withCodes != 0 {
			d = p.plain(p.uncode(d))
		}
		if len(d) > 0 {
			r.take(p, d, weighs)
		}
	}
}

// read takes down what a text may be that has no escapes any more. Local says that
// a parameter makes another number of it.
func (r *readings) read(p *plan, text []byte, local bool) {
	var l line
	head, params, _ := bytes.Cut(text, []byte(";"))
	l.add(head)
	own := l.n
	r.parameters(p, &l, params)

	if l.broken() && !uuid(head) {
		r.over = true
		return
	}
	k := p.look(&l, own)
	w := weights{firm, firm}
	if k.lettered || local || k.soft {
		w.bare = faint
	}
	end := l.n
	switch {
	case uuid(head):
		first, _ := l.next(0)
		r.part(p, &l, 0, first.from, weights{ignored, firm})
		return
	case k.name: // its digits are not one number across its letters
		r.runs(p, &l, weights{ignored, firm}, false)
		return
	case k.soft:
		r.part(p, &l, 0, end, faintly)
	case !k.led:
		r.part(p, &l, 0, own, w)
		r.part(p, &l, 0, end, w)
	}
	if k.pause >= 0 {
		r.part(p, &l, 0, k.pause, w)
		r.part(p, &l, k.behind, end, w)
	}
	if k.plus >= 0 {
		r.part(p, &l, k.plus, end, w)
		r.part(p, &l, 0, k.plus, w)
	}
	r.runs(p, &l, w, k.hard)
	r.code(p, &l)
	if k.lettered {
		var room [maxDialed]byte
		if d := l.spelled(&room); len(d) > 0 {
			r.take(p, d, faintly)
		}
	}
}

// A look is what kind of text a line is.
type look struct {
	name          bool // it begins with letters that are no pause
	lettered      bool // it has such letters, or begins with any
	hard          bool // readers may stop or skip somewhere
	soft          bool // nothing but * # / _ parts it
	led           bool // nothing but a plus parts it that follows its lead, see leads
	pause, behind int  // where the first pause is and what stands behind it begins, -1
	plus          int  // the last one, -1
}

// look looks at a line. Only the first own characters can make a name of it.
func (p *plan) look(l *line, own int) look {
	k := look{pause: -1, plus: -1}
	parted := false
	for b, ok := l.next(0); ok; b, ok = l.next(b.to) {
		if b.from < own {
			begins := !parted && len(bytes.Trim(l.room[:b.from], "-")) == 0
			k.name = k.name || begins && b.name
			k.lettered = k.lettered || b.name || begins && b.letters
		}
		if b.plus >= 0 {
			k.plus = b.plus
			k.led = k.led || b.plus > 0
		}
		if b.hard || b.plus >= 0 && !p.leads(l, b.plus) {
			k.hard = true
			if k.pause < 0 {
				k.pause, k.behind = b.from, b.tail()
			}
		}
		parted = true
	}
	k.led = k.led && !k.hard
	k.soft = parted && !k.hard && k.plus < 0
	return k
}

// tail is where what stands behind a breach begins.
func (b *breach) tail() int {
	if b.plus >= 0 {
		return b.plus
	}
	return b.to
}

// runs takes down what stands between two breaches, and with tails what stands
// behind one up to the next letters of a name.
func (r *readings) runs(p *plan, l *line, w weights, tails bool) {
	at := 0
	for b, ok := l.next(0); ok; b, ok = l.next(b.to) {
		r.part(p, l, at, b.from, w)
		at = b.tail()
		if tails {
			r.part(p, l, at, l.nameAt(b.to), w)
		}
	}
	r.part(p, l, at, l.n, w)
}

// code takes down what stands behind a code of the PBX that has no end, as in
// "*7290...": they have two or three digits.
func (r *readings) code(p *plan, l *line) {
	b, ok := l.next(0)
	if !ok || b.from > 0 || l.room[0] != '*' {
		return
	}
	if b, ok = l.next(b.to); ok && b.to < l.n {
		return // it has one
	}
	var room [maxDialed]byte
	d := l.digits(&room, 0, l.n, 0)
	for n := 2; n <= 3 && n < len(d); n++ {
		r.take(p, d[n:], faintly)
	}
}

// leads tells whether what stands before a plus only leads to it, as an outside line
// or a code does: "9+371...", "*67+371...", "00+371...".
func (p *plan) leads(l *line, plus int) bool {
	var room [maxDialed]byte
	d := p.uncode(bytes.TrimLeft(l.digits(&room, 0, plus, withCodes), "+"))
	if len(d) == 0 || (d[0] == '*' || d[0] == '#') && len(d) <= longestCode+2 {
		return true
	}
	for _, line := range p.OutsideLines {
		if string(d) == line {
			return true
		}
		if rest, ok := bytes.CutPrefix(d, []byte(line)); ok && p.isPrefix(rest) {
			return true
		}
	}
	return p.isPrefix(d)
}

func (p *plan) isPrefix(d []byte) bool {
	return slices.Contains(p.International, string(d))
}

// parameters appends to a line the parameters that go on with the number, after a
// pause: digits to dial afterwards (RFC 2806 section 2.2), a routing number (RFC
// 4694) and what has no name. Of the others only a whole number counts.
func (r *readings) parameters(p *plan, l *line, params []byte) {
	for len(params) > 0 {
		var one []byte
		one, params, _ = bytes.Cut(params, []byte(";"))
		name, value, named := bytes.Cut(one, []byte("="))
		switch {
		case bytes.EqualFold(name, []byte("phone-context")):
		case !named || bytes.EqualFold(name, []byte("postd")) || bytes.EqualFold(name, []byte("rn")):
			if !named {
				value = one
			}
			l.put(pause)
			l.add(value)
		default:
			var other line
			other.add(value)
			r.part(p, &other, 0, other.n, weights{ignored, firm})
		}
	}
}

// readURI takes down every number that a URI may name. The first is the one given.
func (p *plan) readURI(r *readings, x *index.Message, u *index.URI, number []byte) {
	r.begin(number)
	user, scheme := x.Text(u.User), x.Text(u.Scheme)
	if strings.EqualFold(scheme, "urn") {
		return
	}
	var room [longestText]byte
	text := room[:0]
	add := func(parts ...string) {
		for _, s := range parts {
			n := min(len(s), cap(text)-len(text))
			text = append(text, s[:n]...)
			r.over = r.over || n < len(s)
		}
	}
	add(user)
	if !u.Password.Empty() {
		add(":", x.Text(u.Password))
	}
	if strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips") {
		for _, name := range [...]string{"rn", "postd"} {
			if v, ok := x.Param(u.Params, name); ok {
				add(";", name, "=", x.Text(v))
			}
		}
	} else if !u.Params.Empty() {
		add(";", x.Text(u.Params))
	}
	local := strings.HasPrefix(phoneContext(user, x.Text(u.Params)), "+")
	// Who undoes escapes twice reads another text.
	for round := range 3 {
		var plain [longestText]byte
		next, any := unescape(plain[:0], text)
		if !any && round > 0 {
			return
		}
		r.read(p, next, local)
		text = append(text[:0], next...)
		if r.over || !any || bytes.IndexByte(text, '%') < 0 {
			return
		}
	}
	r.over = true
}

// readCall takes down every number that a call may be for. From a next hop comes
// what a PBX has made of a number already, such as the name of a phone in its
// Contact: that is read in one way.
func (p *plan) readCall(r *readings, m *guard.Message) {
	var out [1 + longestNumber]byte
	number := p.appendCalled(out[:0], m)
	x := m.Index
	r.begin(number)
	if m.Inside || m.Reply != nil || x == nil || !x.Request || p.isHelp(x, &x.URI) {
		return
	}
	p.readURI(r, x, &x.URI, number)
	if x.Method == index.Invite && !x.InDialog() && x.Text(x.To.URI.User) != x.Text(x.URI.User) {
		// A PBX may look at To, though the Request-URI says where a request is to go.
		var to readings
		p.readURI(&to, x, &x.To.URI, p.appendURI(out[:0], x, &x.To.URI))
		for i := range to.all[:to.n] {
			r.add(to.all[i].number(), faint)
		}
	}
}

// readTransfer takes down every number that a REFER may want a call to go to.
func (p *plan) readTransfer(r *readings, m *guard.Message) {
	r.begin(nil)
	x := m.Index
	if x == nil || !x.Request || x.Method != index.Refer {
		return
	}
	target := x.Addresses(index.ReferToName)
	to, _, _ := target.Next()
	var out [1 + longestNumber]byte
	number := p.appendURI(out[:0], x, &to.URI)
	r.begin(number)
	if m.Inside || p.isHelp(x, &to.URI) {
		return
	}
	p.readURI(r, x, &to.URI, number)
}
