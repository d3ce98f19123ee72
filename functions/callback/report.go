package callback

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/artifact"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/problem"
	"github.com/graf-run/graf/shared/redact"
)

// Report is what a reporter says in one request, ready to be stored: without
// secrets, and with manifests in canonical form.
type Report struct {
	Reporter Reporter
	Entries  []Entry
}

// Entry is one event of a report.
type Entry struct {
	EventID    string
	Type       api.EventType
	Content    json.RawMessage // nil for none
	OccurredAt time.Time
	Artifacts  []Artifact
	Snapshot   *Snapshot // nil for none
}

// Terminal says whether it is an execution's last word.
func (e Entry) Terminal() bool {
	return e.Type == api.EventTypeCompleted || e.Type == api.EventTypeFailed
}

// Artifact is a file that an event announces.
type Artifact struct {
	ID          uuid.UUID
	Name        string
	ContentType string
	SizeBytes   int64
	SHA256      []byte
}

// Snapshot is a state of the task's resources, or a change of them as a diff.
type Snapshot struct {
	ID        uuid.UUID
	Type      api.SnapshotType
	Manifests json.RawMessage // canonical; nil where there is a diff
	Diff      string
	Digest    string
}

// newReport prepares events, which are valid by the OpenAPI document. What is
// wrong with them beyond it comes back as fields, with pointers into an array.
func newReport(reporter Reporter, events []api.Event, maxArtifact int64) (Report, []problem.FieldError, error) {
	report := Report{Reporter: reporter, Entries: make([]Entry, 0, len(events))}
	p := preparation{salt: reporter.Salt, maxArtifact: maxArtifact, now: time.Now().UTC()}
	for i, event := range events {
		p.at = "/" + strconv.Itoa(i)
		entry, err := p.entry(event)
		if err != nil {
			return Report{}, nil, err
		}
		report.Entries = append(report.Entries, entry)
	}
	return report, p.fields, nil
}

type preparation struct {
	salt        []byte
	maxArtifact int64
	now         time.Time
	at          string
	fields      []problem.FieldError
}

func (p *preparation) refuse(pointer, format string, args ...any) {
	p.fields = append(p.fields, problem.FieldError{Pointer: p.at + pointer, Detail: fmt.Sprintf(format, args...)})
}

func (p *preparation) entry(event api.Event) (Entry, error) {
	entry := Entry{EventID: event.EventID, Type: event.EventType, OccurredAt: p.now}
	if event.OccurredAt != nil {
		entry.OccurredAt = event.OccurredAt.UTC()
	}
	if event.Content != nil {
		content, err := redact.JSON(event.Content)
		if err != nil {
			return Entry{}, err
		}
		entry.Content = content
	}
	for i, declared := range event.Artifacts {
		entry.Artifacts = append(entry.Artifacts, p.artifact("/artifacts/"+strconv.Itoa(i), declared))
	}
	if event.Snapshot != nil {
		entry.Snapshot = p.snapshot(*event.Snapshot)
	}
	return entry, nil
}

// artifact checks a declaration by what object storage takes, so that an upload
// can be presigned for whatever was stored.
func (p *preparation) artifact(pointer string, declared api.ArtifactDeclaration) Artifact {
	if err := artifact.ValidName(declared.Name); err != nil {
		p.refuse(pointer+"/name", "%v", err)
	}
	if err := artifact.ValidContentType(declared.ContentType); err != nil {
		p.refuse(pointer+"/contentType", "%v", err)
	}
	if declared.SizeBytes > p.maxArtifact {
		p.refuse(pointer+"/sizeBytes", "must be at most %d bytes here", p.maxArtifact)
	}
	sum, err := hex.DecodeString(declared.Sha256)
	if err != nil {
		p.refuse(pointer+"/sha256", "must be 64 lower-case hexadecimal digits")
	}
	return Artifact{
		ID: uuid.Must(uuid.NewV7()), Name: declared.Name, ContentType: declared.ContentType,
		SizeBytes: declared.SizeBytes, SHA256: sum,
	}
}

func (p *preparation) snapshot(reported api.SnapshotReport) *Snapshot {
	snapshot := &Snapshot{ID: uuid.Must(uuid.NewV7()), Type: reported.Type}
	if reported.Diff != "" {
		diff, err := manifest.FromText(redact.Text(reported.Diff))
		if err != nil {
			p.refuse("/snapshot/diff", "%v", err)
		}
		snapshot.Diff, snapshot.Digest = diff.Unified, diff.Digest
		return snapshot
	}
	objects, ok := p.canonical(reported.Manifests)
	if !ok {
		return snapshot
	}
	encoded, err := json.Marshal(objects)
	if err != nil { // Canonical objects hold the JSON that they are written as.
		p.refuse("/snapshot/manifests", "%v", err)
	}
	snapshot.Manifests, snapshot.Digest = encoded, manifest.Digest(objects)
	return snapshot
}

// canonical brings manifests into canonical form, each by itself for the sake
// of precise errors, then all together, which finds what is there twice and is
// how finalize will read them.
func (p *preparation) canonical(manifests []api.Manifest) ([]manifest.Object, bool) {
	good := make([]manifest.Object, 0, len(manifests))
	before := len(p.fields)
	for i, raw := range manifests {
		objects, err := parseManifest(raw, p.salt)
		if err != nil {
			p.refuse("/snapshot/manifests/"+strconv.Itoa(i), "%v", err)
		}
		good = append(good, objects...)
	}
	if len(p.fields) > before {
		return nil, false
	}
	encoded, err := json.Marshal(good)
	if err == nil {
		good, err = manifest.Parse(encoded, p.salt)
	}
	if err != nil {
		p.refuse("/snapshot/manifests", "%v", err)
		return nil, false
	}
	if good == nil {
		good = []manifest.Object{} // An empty state is a state: [], not null.
	}
	return good, true
}

// parseManifest reads a resource, or all of a list.
func parseManifest(raw api.Manifest, salt []byte) ([]manifest.Object, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // not to round
	var content map[string]any
	if err := decoder.Decode(&content); err != nil {
		return nil, err
	}
	return manifest.Resources(content, salt)
}
