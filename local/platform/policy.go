package platform

import (
	"bytes"
	"context"
	_ "embed" // for the policy
	"errors"
	"fmt"
	"io/fs"
	"os"
)

//go:embed policy.yaml
var policy []byte

// startPolicy writes the policy of a new platform. Later it is the user's, who may change it while the platform runs.
func (p *Platform) startPolicy(context.Context) error {
	file, err := os.OpenFile(p.config.folder("policy.yaml"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	text := policy
	if p.config.TemporalAddress != "" { // Without the worker, such a task would wait for ever.
		text = bytes.Replace(text, []byte("modes: [direct]"), []byte("modes: [direct, temporal]"), 1)
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	return nil
}
