package callback

import (
	"context"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/access"
	"github.com/graf-run/graf/shared/api"
)

// showEvents shows a task's events: one page, or all of them as they come.
func (h *handler) showEvents(w http.ResponseWriter, r *http.Request) error {
	if err := h.authenticate(r); err != nil {
		return err
	}
	id, err := api.TaskIDFrom(r)
	if err != nil {
		return err
	}
	access.Note(r.Context(), slog.String("taskId", id.String()))
	var params api.ListTaskEventsParams
	if err := h.validator.Parameters(r, api.OperationListTaskEvents, &params); err != nil {
		return err
	}
	from, err := parseCursor(params.Cursor)
	if err != nil {
		return err
	}
	if r.Method == http.MethodGet && wantsStream(r) {
		return h.stream(w, r, id, max(params.LastEventID, from.After))
	}
	page, err := h.page(r.Context(), id, from.After, params.Limit)
	if err != nil {
		return err
	}
	api.Answer(w, r, http.StatusOK, page)
	return nil
}

func (h *handler) page(ctx context.Context, id uuid.UUID, after int64, limit int) (api.EventPage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := h.reader.Status(ctx, id); err != nil {
		return api.EventPage{}, err
	}
	events, more, err := h.reader.After(ctx, id, after, limit)
	if err != nil {
		return api.EventPage{}, err
	}
	page := api.EventPage{Events: events}
	if more {
		page.NextCursor = cursor{After: events[len(events)-1].Sequence}.String()
	}
	return page, nil
}

// wantsStream says whether the client names the media type of event streams
// among those it accepts. Others get JSON, whatever they accept.
func wantsStream(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			media, params, err := mime.ParseMediaType(part)
			if err == nil && media == streamMediaType && (params["q"] == "" || strings.Trim(params["q"], "0.") != "") {
				return true
			}
		}
	}
	return false
}
