package repository

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
)

// The variables with the credentials.
const (
	usernameVariable = "GIT_USERNAME"
	tokenVariable    = "GIT_TOKEN"
	// anyUsername is for forges, which look at the token alone.
	anyUsername = "git"
)

// HelperName is the subcommand of graf-runner that Credential is.
const HelperName = "git-credential"

// WithoutCredentials is an environment, NAME=value, without those of the repository:
// agents get none, as pushing is not theirs.
func WithoutCredentials(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return name == usernameVariable || name == tokenVariable
	})
}

// helperCommand is git's credential.helper: a command for a shell.
func helperCommand(program string, u *url.URL) string {
	quoted := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	return "!" + quoted(program) + " " + HelperName + " " + u.Scheme + "://" + quoted(u.Host)
}

// Credential answers git as its credential helper, see git-credential(1): with what
// the environment has, for the one origin, SCHEME://HOST, alone. What a redirect or
// a repository leads to is told nothing.
func Credential(get func(name string) string, origin, operation string, in io.Reader, out io.Writer) error {
	asked := map[string]string{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		asked[name] = value
	}
	token := get(tokenVariable)
	if operation != "get" || token == "" || asked["protocol"]+"://"+asked["host"] != origin {
		return nil
	}
	username := get(usernameVariable)
	if username == "" {
		username = anyUsername
	}
	if strings.ContainsAny(username+token, "\n\x00") {
		return fmt.Errorf("%s and %s must be one line each", usernameVariable, tokenVariable)
	}
	_, err := fmt.Fprintf(out, "username=%s\npassword=%s\n", username, token)
	return err
}
