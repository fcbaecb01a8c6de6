package index

// A cursor walks the values of all header lines of one name.
type cursor struct {
	m       *Message
	name    Name
	line    int // position of the header line
	at, end int // what is left of its value
}

// next moves to the line that has the next value.
func (c *cursor) next() bool {
	if c.at < c.end {
		return true
	}
	for ; c.line < c.m.count; c.line++ {
		h := &c.m.headers[c.line]
		if h.Name == c.name && !h.Value.Empty() {
			c.at, c.end = int(h.Value.From), int(h.Value.To)
			c.line++
			return true
		}
	}
	return false
}

// part is what to delete so that the value is gone: the whole line if it is
// alone there; the value with the comma and blanks behind it if another
// follows; the value with the comma before it if it is the last of several.
// stop is where reading the value ended. It moves the cursor on.
func (c *cursor) part(text Span, stop int) Span {
	h := &c.m.headers[c.line-1]
	b := c.m.raw
	from, more := int(text.From), stop < c.end
	c.at = c.end
	switch {
	case more:
		c.at = skip(b, stop+1, c.end)
		return span(from, c.at)
	case text.From == h.Value.From:
		return h.Line
	}
	from = trim(b, int(h.Value.From), from) - 1 // on the comma
	return span(trim(b, int(h.Value.From), from), int(text.To))
}

// An AddressCursor walks the addresses of all headers of one name, in order.
// It allocates nothing.
type AddressCursor struct{ c cursor }

// Addresses walks From, To, Contact, Route, Record-Route, Path, Service-Route,
// Refer-To, Referred-By, P-Asserted-Identity, P-Preferred-Identity,
// Remote-Party-ID, Diversion or History-Info. Parse has checked all of these;
// with other names the walk ends at the first value that is no address.
func (m *Message) Addresses(n Name) AddressCursor {
	return AddressCursor{cursor{m: m, name: n}}
}

// Next is the next address, and the part of the message to delete to be rid of
// it: its line, or if it shares the line, itself and one comma. Parts of
// neighbours overlap in that comma, which a Splice allows; to take out all
// values of a line, delete the line. A Contact of * has an empty URI.
func (w *AddressCursor) Next() (a Address, part Span, ok bool) {
	c := &w.c
	if !c.next() {
		return Address{}, Span{}, false
	}
	var next int
	if c.name == ContactName && c.end-c.at == 1 && c.m.raw[c.at] == '*' {
		a.Text, next = span(c.at, c.end), c.end
	} else {
		var p Problem
		if next, p = c.m.address(&a, c.at, c.end); p != "" {
			c.at, c.line = c.end, c.m.count
			return Address{}, Span{}, false
		}
	}
	return a, c.part(a.Text, next), true
}

// A ViaCursor walks the Via values, topmost first. It allocates nothing.
type ViaCursor struct{ c cursor }

// AllVias walks the Via values. To put a Via on top, Splice.Insert a whole
// line at Line.From of First(ViaName); to take the topmost out, Splice.Delete
// the part that the first Next returns.
func (m *Message) AllVias() ViaCursor { return ViaCursor{cursor{m: m, name: ViaName}} }

// Next is the next Via, and the part of the message to delete to be rid of it;
// see AddressCursor.Next.
func (w *ViaCursor) Next() (v Via, part Span, ok bool) {
	c := &w.c
	if !c.next() {
		return Via{}, Span{}, false
	}
	next, p := c.m.via(&v, c.at, c.end)
	if p != "" {
		c.at, c.line = c.end, c.m.count
		return Via{}, Span{}, false
	}
	return v, c.part(v.Text, next), true
}

// A ListCursor walks the elements of a comma list such as Supported or Allow.
type ListCursor struct{ c cursor }

// List walks the comma-separated elements of all headers of one name, without
// surrounding blanks; commas in quotes do not separate. Empty elements are
// passed over.
func (m *Message) List(n Name) ListCursor { return ListCursor{cursor{m: m, name: n}} }

// Next is the next element.
func (w *ListCursor) Next() (element Span, ok bool) {
	c := &w.c
	for c.next() {
		b, from := c.m.raw, c.at
		i := from
		for i < c.end && b[i] != ',' {
			if b[i] == '"' {
				next, ok := quoted(b, i, c.end)
				if !ok {
					next = c.end
				}
				i = next
				continue
			}
			i++
		}
		to := trim(b, from, i)
		c.at = c.end
		if i < c.end {
			c.at = skip(b, i+1, c.end)
		}
		if to > from {
			return span(from, to), true
		}
	}
	return Span{}, false
}

// Has tells whether a comma list holds an element, in any case: an option tag
// of Supported or Require, a method of Allow.
func (m *Message) Has(n Name, element string) bool {
	w := m.List(n)
	for s, ok := w.Next(); ok; s, ok = w.Next() {
		if m.Is(s, element) {
			return true
		}
	}
	return false
}
