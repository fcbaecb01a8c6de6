package guard

import (
	"fmt"
	"slices"
	"strings"
)

// A Kind makes guards from configuration. Each guard folder registers one.
type Kind struct {
	Name   string
	Doc    string     // the first sentence is the summary that `ringfence guards` prints
	Config func() any // pointer to the default configuration; decoded strictly
	New    func(Host, any) (*Guard, error)
}

// registry is filled in init functions and read-only afterwards.
var registry = map[string]Kind{}

// Register adds a kind. It is called from init and panics on a name used twice.
func Register(k Kind) {
	if _, twice := registry[k.Name]; twice {
		panic(fmt.Sprintf("guard %q registered twice", k.Name))
	}
	registry[k.Name] = k
}

// Kinds are the registered kinds by name.
func Kinds() []Kind {
	out := make([]Kind, 0, len(registry))
	for _, k := range registry {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Kind) int { return strings.Compare(a.Name, b.Name) })
	return out
}
