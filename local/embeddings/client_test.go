package embeddings

import (
	"errors"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/embedding"
)

// TestClient talks to the server as the functions do.
func TestClient(t *testing.T) {
	t.Parallel()
	refs := references(t)
	texts := make([]string, len(refs))
	for i, ref := range refs {
		texts[i] = ref.Text
	}
	client, err := embedding.New(embedding.Config{BaseURL: startServer(t) + "/v1", Model: ModelName, Dimension: Dimension, BatchSize: 16})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, ref := range refs {
		if diff := maxDifference(got[i], ref.Vector); diff > 1e-5 {
			t.Errorf("vector of %q differs from the reference by %g", ref.Text, diff)
		}
	}
	if _, err := client.Embed(t.Context(), []string{strings.Repeat("naïve über-long words ", 5000)}); err != nil {
		t.Errorf("the longest text that a client sends: %v", err)
	}
}

func TestClientOfAnotherModel(t *testing.T) {
	t.Parallel()
	client, err := embedding.New(embedding.Config{BaseURL: startServer(t) + "/v1", Model: "gpt", Dimension: Dimension})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Embed(t.Context(), []string{"text"})
	if !errors.Is(err, embedding.ErrUnavailable) || !strings.Contains(err.Error(), ModelName) {
		t.Errorf("error %v, want ErrUnavailable that names the model to use", err)
	}
}
