/* Where does a model decide between two names? Runs two prompts, and patches each place of the field.
 *
 *     cargo xtask capi
 *     cc -std=c99 -Itarget/capi crates/capi/examples/patch.c -Ltarget/capi -lresolvent -Wl,-rpath,target/capi -o patch
 *     ./patch
 *
 * Arguments: a model and a device.
 */
#include <stdio.h>
#include <stdlib.h>

#include "resolvent.h"

/* Ends the program with the library's message if a call has failed. */
static void check(resolvent_status status)
{
    if (status != RESOLVENT_STATUS_OK) {
        fprintf(stderr, "status %d: %s\n", (int)status, resolvent_last_error());
        exit(EXIT_FAILURE);
    }
}

/* Memory for what the library copies. */
static void *room(size_t elements, size_t size)
{
    void *memory = calloc(elements > 0 ? elements : 1, size);
    if (memory == NULL) {
        fputs("no memory is left\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* Runs a prompt. The first call of resolvent_model_encode asks for the number of tokens, and the second one copies them. */
static resolvent_run *run(const resolvent_model *model, const char *prompt, size_t *count)
{
    resolvent_run *done;
    uint32_t *tokens;

    check(resolvent_model_encode(model, prompt, NULL, 0, count));
    tokens = room(*count, sizeof *tokens);
    check(resolvent_model_encode(model, prompt, tokens, *count, NULL));
    check(resolvent_model_run(model, tokens, *count, NULL, 0, NULL, &done));
    free(tokens);
    return done;
}

/* Copies an array of a result. */
static float *array(const resolvent_result *result, const char *name, size_t *length)
{
    float *elements;

    check(resolvent_result_array(result, name, NULL, 0, length));
    elements = room(*length, sizeof *elements);
    check(resolvent_result_array(result, name, elements, *length, NULL));
    return elements;
}

/* Shows how far a call is. Its first argument is the user pointer of resolvent_watch. */
static void progress(void *user, const char *what, uint64_t done, uint64_t all)
{
    printf("%s: %lu of %lu\n", what, (unsigned long)done, (unsigned long)all);
    ++*(int *)user;
}

int main(int count, char **arguments)
{
    const char *j = "logit(\" Mary\") - logit(\" John\")";
    const char *clean_prompt = "When Mary and John went to the store, John gave a drink to";
    const char *corrupted_prompt = "When Mary and John went to the store, Mary gave a drink to";
    resolvent_options options = {.size = sizeof options, .device = count > 2 ? arguments[2] : "host"};
    resolvent_model *model;
    resolvent_run *clean, *corrupted;
    resolvent_result *chi, *patched, *response;
    resolvent_sizes sizes;
    size_t tokens, length, level, token, place = 0;
    double values[2];
    float *effect, *norm, *sensitivity, *at_end;
    int reports = 0;
    resolvent_watch watch = {.progress = progress, .user = &reports};

    check(resolvent_model_open(count > 1 ? arguments[1] : "atlas-nano", &options, NULL, &model));
    check(resolvent_model_sizes(model, &sizes));
    clean = run(model, clean_prompt, &tokens);
    corrupted = run(model, corrupted_prompt, &tokens);
    check(resolvent_run_value(clean, j, NULL, &values[0]));
    check(resolvent_run_value(corrupted, j, NULL, &values[1]));
    printf("J: %.6g clean, %.6g corrupted\n", values[0], values[1]);

    /* The effect of each h[level, token] of the clean run, put into the corrupted one. */
    check(resolvent_run_patch(clean, corrupted, j, &watch, &patched));
    effect = array(patched, "effect", &length);
    for (level = 0; level <= sizes.layers; ++level)
        for (token = 0; token < tokens; ++token)
            printf("%9.5f%c", effect[level * tokens + token], token + 1 < tokens ? ' ' : '\n');

    /* The sensitivity at the place where it is largest is the source of a response. */
    check(resolvent_run_sensitivity(corrupted, j, NULL, &chi));
    norm = array(chi, "norm", &length);
    for (token = 0; token < tokens; ++token)
        if (norm[token] > norm[place])
            place = token;
    printf("largest sensitivity at level 0: %.6g at token %lu\n", norm[place], (unsigned long)place);
    sensitivity = array(chi, "sensitivity", &length);
    check(resolvent_run_green(corrupted, 0, (int64_t)place, sensitivity + place * sizes.width, sizes.width, NULL,
                              &response));
    at_end = array(response, "norm", &length);
    printf("its response at the last level and token: %.6g\n", at_end[length - 1]);
    printf("progress was reported %d times\n", reports);

    free(effect);
    free(norm);
    free(sensitivity);
    free(at_end);
    resolvent_result_free(response);
    resolvent_result_free(chi);
    resolvent_result_free(patched);
    resolvent_run_free(corrupted);
    resolvent_run_free(clean);
    resolvent_model_free(model);
    return EXIT_SUCCESS;
}
