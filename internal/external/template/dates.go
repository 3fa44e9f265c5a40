package template

import (
	"time"
	_ "time/tzdata" // so that time zones are the same on all machines

	"github.com/Masterminds/sprig/v3"
)

// dates are the functions that would ask for the time, or for the time zone of
// the machine: it is UTC.
func (r *run) dates() map[string]any {
	date := func(layout string, t any) string { return r.date(layout, t, "UTC") }
	toDate := func(layout, s string) (time.Time, error) {
		t, err := time.ParseInLocation(layout, s, time.UTC)
		if err != nil {
			return time.Time{}, refusal("its argument is not a date of this layout")
		}
		return t, nil
	}
	return map[string]any{
		"now":  func() time.Time { return r.options.Now.UTC() },
		"date": date, "dateInZone": r.date, "date_in_zone": r.date,
		"htmlDate":       func(t any) string { return date(time.DateOnly, t) },
		"htmlDateInZone": func(t any, zone string) string { return r.date(time.DateOnly, t, zone) },
		"ago":            func(t any) string { return r.options.Now.Sub(r.when(t)).Round(time.Second).String() },
		"durationRound": func(d any) string {
			if t, ok := d.(time.Time); ok {
				d = int64(r.options.Now.Sub(t))
			}
			round, _ := sprig.GenericFuncMap()["durationRound"].(func(any) string)
			return round(d)
		},
		"toDate": func(layout, s string) time.Time {
			t, _ := toDate(layout, s)
			return t
		},
		"mustToDate": toDate,
	}
}

func (r *run) date(layout string, t any, zone string) string {
	location, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		location = time.UTC
	}
	return r.when(t).In(location).Format(layout)
}

// when is the time that t stands for: a time, or seconds since 1970. Anything
// else is now.
func (r *run) when(t any) time.Time {
	switch t := t.(type) {
	case time.Time:
		return t
	case *time.Time:
		return *t
	case int64:
		return time.Unix(t, 0)
	case int:
		return time.Unix(int64(t), 0)
	case int32:
		return time.Unix(int64(t), 0)
	}
	return r.options.Now
}
