package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ringfence/rules"
)

// explainUsage has every command below c refuse words and flags that it does not
// know, with the nearest one that it does.
func explainUsage(c *cobra.Command) {
	c.SetFlagErrorFunc(flagError)
	if c.HasSubCommands() {
		c.Args = onlySubcommands
		if !c.Runnable() {
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
			c.DisableFlagsInUseLine = true
		}
	}
	for _, sub := range c.Commands() {
		explainUsage(sub)
	}
}

// onlySubcommands refuses the first word, which is none of c's commands.
func onlySubcommands(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			names = append(names, sub.Name())
		}
	}
	text := fmt.Sprintf("%s has no command %q", c.CommandPath(), args[0])
	if sub := meantElsewhere(c, args); sub != "" {
		return fmt.Errorf("%s (did you mean `%s`?)", text, sub)
	}
	if near := rules.Nearest(args[0], names); near != "" {
		return fmt.Errorf("%s (did you mean `%s %s`?)", text, c.CommandPath(), near)
	}
	if !c.HasParent() {
		return fmt.Errorf("%s; `%s help` lists those that it has", text, c.CommandPath())
	}
	return fmt.Errorf("%s; it has %s", text, strings.Join(names, ", "))
}

// meantElsewhere is the command that is called otherwise here than people guess.
func meantElsewhere(c *cobra.Command, args []string) string {
	return map[string]string{
		"bans remove": "ringfence lift", "bans delete": "ringfence lift", "bans lift": "ringfence lift",
		"config check": "ringfence check", "config validate": "ringfence check", "rules list": "ringfence rules hits",
		"account delete": "ringfence account remove", "account create": "ringfence account add", "start": "ringfence run",
		"ban": "ringfence bans add", "unban": "ringfence lift",
	}[strings.TrimPrefix(c.CommandPath()+" "+args[0], "ringfence ")]
}

// flagError puts what is wrong with a flag into words, and names the nearest.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var wrong *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			return fmt.Errorf("%s has no flag -%s; `%s --help` lists those that it has", c.CommandPath(), name, c.CommandPath())
		}
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := rules.Nearest(name, names); near != "" {
			return fmt.Errorf("%s has no flag --%s (did you mean --%s?)", c.CommandPath(), name, near)
		}
		return fmt.Errorf("%s has no flag --%s; `%s --help` lists those that it has", c.CommandPath(), name, c.CommandPath())
	case errors.As(err, &wrong):
		flag := wrong.GetFlag()
		want := map[string]string{"int": "a whole number", "bool": "true or false"}[flag.Value.Type()]
		if errors.Is(err, strconv.ErrRange) {
			want = "a smaller number"
		}
		if want != "" {
			return fmt.Errorf("--%s %s: want %s", flag.Name, wrong.GetValue(), want)
		}
	}
	return err
}

// arguments wants exactly as many arguments as there are names.
func arguments(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s needs %s; see `%s --help`", c.CommandPath(), strings.Join(names[len(args):], " and "), c.CommandPath())
		case len(args) > len(names):
			return fmt.Errorf("%s takes %s and nothing more: what is %q?", c.CommandPath(), strings.Join(names, " and "), args[len(names)])
		}
		return nil
	}
}

// nothing wants no argument.
func nothing(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no argument: what is %q?", c.CommandPath(), args[0])
}
