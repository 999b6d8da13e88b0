/*
 * plimsoll._native: the module table and the boundary to Python.
 *
 * The module keeps nothing between calls. A call copies what it must trust (the rows) while it holds the interpreter
 * lock, checks it, and only then releases the lock; what other threads may do to the buffers meanwhile can garble
 * figures but never lead outside of them: an exported buffer cannot be resized, and bytes do not change.
 */
#include <Python.h>

#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

struct job {
    struct pl_row row;
    int32_t index;
    int32_t status;
};

struct pass {
    Py_buffer table;
    Py_buffer values;
    Py_buffer status;
    Py_buffer chosen; /* obj is NULL when every row is read */
    const char *keys;
    size_t keys_size;
    struct job *jobs;
    size_t count;
};

/* How many elements of `width` bytes a buffer has. -1 with ValueError for one that is cut or not aligned. */
static Py_ssize_t elements(const Py_buffer *buffer, size_t width, const char *what)
{
    /* The address of an empty buffer is anything. */
    if ((size_t)buffer->len % width != 0 || (buffer->len > 0 && (uintptr_t)buffer->buf % width != 0)) {
        PyErr_Format(PyExc_ValueError, "%s is not an array of elements of %zu bytes", what, width);
        return -1;
    }
    return buffer->len / (Py_ssize_t)width;
}

/* Copy the rows to read into jobs and check each. -1 with an exception. */
static int prepare(struct pass *pass)
{
    const size_t row_size = sizeof(struct pl_row);
    const Py_ssize_t table_ints = elements(&pass->table, sizeof(int32_t), "table");
    const Py_ssize_t words = elements(&pass->values, sizeof(int64_t), "values");
    const Py_ssize_t statuses = elements(&pass->status, sizeof(int32_t), "status");
    const Py_ssize_t chosen = pass->chosen.obj == NULL ? 0 : elements(&pass->chosen, sizeof(int32_t), "rows");
    if (table_ints < 0 || words < 0 || statuses < 0 || chosen < 0) {
        return -1;
    }
    if ((size_t)pass->table.len % row_size != 0 || (size_t)pass->table.len / row_size != (size_t)statuses) {
        PyErr_SetString(PyExc_ValueError, "table and status do not have the same number of rows");
        return -1;
    }
    const size_t rows = (size_t)statuses;
    pass->count = pass->chosen.obj == NULL ? rows : (size_t)chosen;
    if (rows > INT32_MAX || pass->count > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many rows");
        return -1;
    }
    pass->jobs = PyMem_Calloc(pass->count + 1, sizeof(struct job));
    if (pass->jobs == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t each = 0; each < pass->count; each++) {
        struct job *const job = &pass->jobs[each];
        job->index = (int32_t)each;
        if (pass->chosen.obj != NULL) {
            memcpy(&job->index, (const char *)pass->chosen.buf + each * sizeof(int32_t), sizeof(int32_t));
        }
        if (job->index < 0 || (size_t)job->index >= rows) {
            PyErr_Format(PyExc_IndexError, "no row %d", (int)job->index);
            return -1;
        }
        memcpy(&job->row, (const char *)pass->table.buf + (size_t)job->index * row_size, row_size);
        if (!pl_row_fits(&job->row, pass->keys, pass->keys_size, (size_t)words)) {
            PyErr_Format(PyExc_ValueError, "row %d does not fit", (int)job->index);
            return -1;
        }
    }
    return 0;
}

static void run(struct pass *pass, char *buffer)
{
    int64_t *const values = pass->values.buf;
    int32_t *const status = pass->status.buf;
    for (size_t each = 0; each < pass->count; each++) {
        struct job *const job = &pass->jobs[each];
        if (job->row.format != PL_FREE) {
            job->status = pl_read(&job->row, pass->keys, buffer, values + job->row.offset);
        }
        status[job->index] = job->status;
    }
}

/* The rows that need another look: all but those read well and those the kernel refuses for good. */
static PyObject *unfinished(const struct pass *pass)
{
    PyObject *const rows = PyList_New(0);
    if (rows == NULL) {
        return NULL;
    }
    for (size_t each = 0; each < pass->count; each++) {
        const struct job *const job = &pass->jobs[each];
        if (job->status == PL_OK || job->status == EOPNOTSUPP) {
            continue;
        }
        PyObject *const index = PyLong_FromLong(job->index);
        if (index == NULL || PyList_Append(rows, index) < 0) {
            Py_XDECREF(index);
            Py_DECREF(rows);
            return NULL;
        }
        Py_DECREF(index);
    }
    return rows;
}

PyDoc_STRVAR(read_doc, "read(table, keys, values, status, rows=None, /)\n--\n\n"
                       "Read and parse the files of a table, or of some of its rows, with the interpreter lock\n"
                       "released. Gives the rows that were neither read nor refused with EOPNOTSUPP.\n\n"
                       "table: int32 (descriptor, format, offset, keys, count) per row; keys: bytes; values: int64,\n"
                       "written; status: int32 per row, written: 0, an errno value, CLOSED or ODD. Raises ValueError or\n"
                       "IndexError before anything is read.");

static PyObject *native_read(PyObject *module, PyObject *arguments)
{
    (void)module;
    struct pass pass = {0};
    PyObject *keys;
    PyObject *chosen = Py_None;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*Sw*w*|O:read", &pass.table, &keys, &pass.values, &pass.status, &chosen)) {
        return NULL;
    }
    char *const buffer = PyMem_Malloc(PL_BUFFER_SIZE);
    if (buffer == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    if (chosen != Py_None && PyObject_GetBuffer(chosen, &pass.chosen, PyBUF_SIMPLE) < 0) {
        goto done;
    }
    /* The caller's arguments keep `keys` alive during the call. */
    pass.keys = PyBytes_AsString(keys);
    pass.keys_size = (size_t)PyBytes_Size(keys);
    if (pass.keys == NULL || prepare(&pass) < 0) {
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    run(&pass, buffer);
    Py_END_ALLOW_THREADS
    result = unfinished(&pass);
done:
    PyMem_Free(pass.jobs);
    PyMem_Free(buffer);
    PyBuffer_Release(&pass.chosen);
    PyBuffer_Release(&pass.status);
    PyBuffer_Release(&pass.values);
    PyBuffer_Release(&pass.table);
    return result;
}

static PyMethodDef methods[] = {
    {"read", native_read, METH_VARARGS, read_doc},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    static const struct {
        const char *name;
        long value;
    } constants[] = {
        {"FREE", PL_FREE},         {"VALUE", PL_VALUE},         {"KEYED", PL_KEYED},       {"PSI", PL_PSI},
        {"CLOSED", PL_CLOSED},     {"ODD", PL_ODD},             {"PRESSURE_STAT", PL_PRESSURE_STAT},
        {"KEYS_MAX", PL_KEYS_MAX}, {"ROW_INTS", (long)(sizeof(struct pl_row) / sizeof(int32_t))},
        {"LINE_WORDS", PL_LINE_WORDS},
    };
    for (size_t each = 0; each < sizeof(constants) / sizeof(constants[0]); each++) {
        if (PyModule_AddIntConstant(module, constants[each].name, constants[each].value) < 0) {
            return -1;
        }
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "plimsoll._native",
    .m_doc = "Reads many cgroup files in one call. Only plimsoll.kernel uses this module.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
