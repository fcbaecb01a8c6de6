package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ringfence/console"
	"ringfence/guard/auth"
)

func newAccount(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "account", Short: "Accounts that may register and call, when ringfence authenticates"}
	list := &cobra.Command{
		Use: "list", Short: "List accounts, never their secrets", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			var accounts []console.Account
			if err := g.accounts(c.Context(), func(b accountBook) (err error) { accounts, err = b.list(c.Context()); return err }); err != nil {
				return err
			}
			rows := make([][]string, 0, len(accounts))
			for _, a := range accounts {
				rows = append(rows, []string{a.User, a.Realm, strings.Join(a.Algorithms, " "), a.Class, strconv.Itoa(a.CallLimit), a.Created.Format(time.DateTime), strings.Join(a.Bindings, " ")})
			}
			return g.show(c.OutOrStdout(), accounts, "USER\tREALM\tALGORITHMS\tCLASS\tCALL LIMIT\tCREATED\tREGISTERED AT", rows)
		},
	}
	var realm, password, class string
	var limit int
	var allowed []string
	set := func(replace bool) func(*cobra.Command, []string) error {
		return func(c *cobra.Command, args []string) error {
			user, r := splitUser(args[0], realm)
			if user == "" || r == "" || strings.ContainsAny(r, "@ ") || strings.ContainsAny(user, " \t:\"") {
				return fmt.Errorf("%q is no account: write USER or USER@REALM, with one @ and without spaces, colons and quotes", args[0])
			}
			if limit < 0 {
				return fmt.Errorf("--call-limit %d: want 0, the default of the rules, or more", limit)
			}
			secret, err := readPassword(c.InOrStdin(), c.ErrOrStderr(), password)
			if err != nil {
				return err
			}
			in := console.AccountRequest{
				User: user, Realm: r, HA1: auth.HA1(user, r, secret), Class: class, CallLimit: limit, Allowed: allowed, Replace: replace,
			}
			if err := g.accounts(c.Context(), func(b accountBook) error { return b.add(c.Context(), in) }); err != nil {
				return err
			}
			done := "added"
			if replace {
				done = "has a new password"
			}
			fmt.Fprintf(c.OutOrStdout(), "%s@%s %s\n", user, r, done)
			return nil
		}
	}
	add := &cobra.Command{Use: "add USER[@REALM]", Short: "Add an account; asks for the password", Args: arguments("USER"), RunE: set(false)}
	passwd := &cobra.Command{Use: "passwd USER[@REALM]", Short: "Give an account a new password", Args: arguments("USER"), RunE: set(true)}
	for _, c := range []*cobra.Command{add, passwd} {
		c.Flags().StringVar(&password, "password", "", "file:PATH to read it from a file, - for standard input; asked for when left out")
	}
	add.Flags().StringVar(&class, "class", "", "a word that rules can ask for, such as office")
	add.Flags().IntVar(&limit, "call-limit", 0, "calls at a time; 0 is the default of the rules")
	add.Flags().StringSliceVar(&allowed, "allow", nil, "other user names that it may use in From")
	remove := &cobra.Command{
		Use: "remove USER[@REALM]", Short: "Remove an account", Args: arguments("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			user, r := splitUser(args[0], realm)
			if err := g.accounts(c.Context(), func(b accountBook) error { return b.remove(c.Context(), r, user) }); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s@%s removed\n", user, r)
			return nil
		},
	}
	c.PersistentFlags().StringVar(&realm, "realm", auth.DefaultRealm, "realm, when USER does not name one")
	c.AddCommand(list, add, remove, passwd)
	return c
}

func splitUser(text, realm string) (user, r string) {
	if user, r, ok := strings.Cut(text, "@"); ok {
		return user, r
	}
	return text, realm
}

// readPassword takes the password from where the flag says, or asks twice.
func readPassword(in io.Reader, out io.Writer, from string) (string, error) {
	switch path, isFile := strings.CutPrefix(from, "file:"); {
	case isFile:
		text, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		return notEmpty(strings.TrimRight(string(text), "\r\n"))
	case from == "-":
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("password: %w", err)
		}
		return notEmpty(strings.TrimRight(line, "\r\n"))
	case from != "":
		return "", errors.New("--password takes file:PATH or -, since a password on the command line shows in process lists")
	}
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", errors.New("there is no terminal to ask for the password on: use --password file:PATH or --password -")
	}
	var typed [2]string
	for i, ask := range []string{"Password: ", "Again: "} {
		fmt.Fprint(out, ask)
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(out)
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ")
	}
	return notEmpty(typed[0])
}

func notEmpty(password string) (string, error) {
	if password == "" {
		return "", errors.New("the password is empty")
	}
	return password, nil
}

// An accountBook is the daemon when it runs and the store when it does not.
type accountBook interface {
	list(context.Context) ([]console.Account, error)
	add(context.Context, console.AccountRequest) error
	remove(ctx context.Context, realm, user string) error
}

type remoteAccounts struct{ *console.Client }

func (r remoteAccounts) list(ctx context.Context) (out []console.Account, err error) {
	return out, r.Do(ctx, http.MethodGet, "/v1/accounts", nil, &out)
}

func (r remoteAccounts) add(ctx context.Context, in console.AccountRequest) error {
	return r.Do(ctx, http.MethodPost, "/v1/accounts", in, &struct{}{})
}

func (r remoteAccounts) remove(ctx context.Context, realm, user string) error {
	return r.Do(ctx, http.MethodDelete, "/v1/accounts/"+url.PathEscape(realm)+"/"+url.PathEscape(user), nil, &struct{}{})
}

// accounts does something with the accounts, in the daemon if one runs.
func (g *globals) accounts(ctx context.Context, do func(accountBook) error) error {
	err := do(remoteAccounts{g.client()})
	if !errors.Is(err, console.ErrNotRunning) {
		return err
	}
	book, done, err := openAccounts(ctx, g.dir())
	if err != nil {
		return err
	}
	return errors.Join(do(book), done())
}
