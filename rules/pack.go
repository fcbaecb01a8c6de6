package rules

import (
	"embed"
	"io/fs"
)

//go:embed default
var pack embed.FS

// DefaultFile is the file of the default pack within Default.
const DefaultFile = "default.yaml"

// Default is the default pack: the rules that are in force when nobody says
// otherwise, and their tests.
func Default() fs.FS {
	sub, err := fs.Sub(pack, "default")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	return sub
}
