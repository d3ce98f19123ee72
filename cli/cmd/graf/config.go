package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	graf "github.com/graf-run/graf/sdk/go"
)

// config is the file that graf login keeps. It holds tokens, so it is for its
// owner alone.
type config struct {
	Current  string             `json:"current"`
	Contexts map[string]profile `json:"contexts"`
}

// profile is a context: one Graf, and who one is there.
type profile struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	// CallbackURL and MemoryURL are those of functions that are elsewhere than URL.
	CallbackURL string `json:"callbackUrl,omitempty"`
	MemoryURL   string `json:"memoryUrl,omitempty"`
	// Agent is what submit runs unless it is told.
	Agent *graf.Agent `json:"agent,omitempty"`
}

func (p profile) options() graf.Options {
	return graf.Options{
		BaseURL: p.URL, Endpoints: graf.Endpoints{Callback: p.CallbackURL, Memory: p.MemoryURL}, Token: graf.StaticToken(p.Token),
	}
}

// configPath is GRAF_CONFIG, or graf/config.yaml in the user's folder of settings.
func configPath() (string, error) {
	if path := os.Getenv("GRAF_CONFIG"); path != "" {
		return path, nil
	}
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", usage("find the folder of settings: %w\nset GRAF_CONFIG to a file", err)
	}
	return filepath.Join(folder, "graf", "config.yaml"), nil
}

// readConfig reads the file; one that is not there is empty.
func readConfig() (config, error) {
	empty := config{Contexts: map[string]profile{}}
	path, err := configPath()
	if err != nil {
		return empty, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return empty, usage("%s holds tokens and others may read it\nrun: chmod 600 %s", path, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return empty, err
	}
	kept := empty
	if err := yaml.UnmarshalStrict(text, &kept); err != nil {
		return empty, usage("%s: %w\nmend it, or remove it and log in again", path, err)
	}
	if kept.Contexts == nil { // "contexts: null" is none
		kept.Contexts = empty.Contexts
	}
	return kept, nil
}

// write replaces the file as a whole.
func (c config) write() error {
	path, err := configPath()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".config-*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name()) // what is wrong is told already
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// current is the context in use. GRAF_URL and GRAF_TOKEN win over the file, but
// not over --context. Another address takes nothing of the context: its token and
// the addresses of functions are of another Graf.
func (a *app) current() (profile, error) {
	url, token := os.Getenv("GRAF_URL"), os.Getenv("GRAF_TOKEN")
	if a.context == "" && url != "" {
		if token == "" {
			return profile{}, usage("GRAF_URL is set without GRAF_TOKEN, and a context's token is for its own Graf alone\n" +
				"set GRAF_TOKEN, too, or unset GRAF_URL")
		}
		return profile{URL: url, Token: token}, nil
	}
	kept, err := readConfig()
	if err != nil {
		return profile{}, err
	}
	name := cmp.Or(a.context, kept.Current)
	if name == "" {
		return profile{}, usage("you are not logged in\nrun: graf login URL < token-file, or set GRAF_URL and GRAF_TOKEN")
	}
	use, ok := kept.Contexts[name]
	if !ok {
		return profile{}, usage("there is no context %q\ngraf contexts lists those that there are", name)
	}
	if a.context == "" {
		use.Token = cmp.Or(token, use.Token)
	}
	return use, nil
}
