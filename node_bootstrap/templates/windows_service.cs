// The Windows service that keeps the task runner running, and the program that starts a task as its own account.
//
//   millpond-service.exe service PYTHON SETTINGS LOG        started by the service control manager
//   millpond-service.exe run-as ACCOUNT PROGRAM [ARGUMENT]...   started by the runner, once for each task
//
// Compiled on the node by the .NET Framework's compiler (C# 5), so that no program of others has to be brought along.
using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.Diagnostics;
using System.IO;
using System.Runtime.InteropServices;
using System.ServiceProcess;
using System.Text;
using System.Threading;

public static class Program
{
    public static int Main(string[] arguments)
    {
        if (arguments.Length == 4 && arguments[0] == "service")
        {
            ServiceBase.Run(new RunnerService(arguments[1], arguments[2], arguments[3]));
            return 0;
        }
        if (arguments.Length >= 3 && arguments[0] == "run-as")
        {
            try
            {
                return TaskLauncher.Run(arguments[1], Words.Join(arguments, 2));
            }
            catch (Win32Exception error)
            {
                Console.Error.WriteLine("the task cannot be started as " + arguments[1] + ": " + error.Message);
                // What shells say of a program that is there and cannot be run, and of one that is not there.
                return error.NativeErrorCode == 2 || error.NativeErrorCode == 3 ? 127 : 126;
            }
        }
        Console.Error.WriteLine("usage: service PYTHON SETTINGS LOG | run-as ACCOUNT PROGRAM [ARGUMENT]...");
        return 2;
    }
}

// Starts the runner, and starts it again when it ends for any reason but one: that it has retired.
public sealed class RunnerService : ServiceBase
{
    const int Retired = 3;
    const int RestartMilliseconds = 5000;
    const int PatienceMilliseconds = 30000;
    const long MostLogBytes = 1024 * 1024;

    readonly string python, settings, log;
    readonly ManualResetEvent stopping = new ManualResetEvent(false);
    readonly object turn = new object(), writing = new object();
    Thread keeper;
    Process runner;

    public RunnerService(string python, string settings, string log)
    {
        this.python = python;
        this.settings = settings;
        this.log = log;
        ServiceName = "millpond";
        CanStop = true;
        CanShutdown = true;
    }

    protected override void OnStart(string[] arguments)
    {
        keeper = new Thread(Keep);
        keeper.Start();
    }

    protected override void OnStop() { End(); }

    protected override void OnShutdown() { End(); }

    void Keep()
    {
        try
        {
            using (var job = new Job())
            {
                while (!stopping.WaitOne(0))
                {
                    int code = RunOnce(job);
                    Log("the runner ended with exit code " + code);
                    if (code == Retired) break;
                    stopping.WaitOne(RestartMilliseconds);
                }
            }
            if (!stopping.WaitOne(0)) ThreadPool.QueueUserWorkItem(delegate { Stop(); });
        }
        catch (Exception error)
        {
            Log("the service fails: " + error);
            // Not a clean end: the service control manager starts it again.
            Environment.Exit(1);
        }
    }

    int RunOnce(Job job)
    {
        var start = new ProcessStartInfo(python, Words.Join(new[] { "-m", "node_bootstrap.runner", settings }, 0));
        start.UseShellExecute = false;
        // A console of its own, unseen: by it the runner is asked to end.
        start.CreateNoWindow = true;
        start.RedirectStandardError = true;
        lock (turn)
        {
            if (stopping.WaitOne(0)) return 0;
            runner = Process.Start(start);
        }
        // Whatever happens to this service, no runner is left behind, and no task.
        job.Add(runner.Handle);
        runner.ErrorDataReceived += delegate(object sender, DataReceivedEventArgs line)
        {
            if (line.Data != null) Log(line.Data);
        };
        runner.BeginErrorReadLine();
        runner.WaitForExit();
        int code = runner.ExitCode;
        lock (turn)
        {
            runner.Dispose();
            runner = null;
        }
        return code;
    }

    void End()
    {
        stopping.Set();
        lock (turn)
        {
            if (runner != null) RunnerConsole.Interrupt(runner.Id);
        }
        // The runner gives its unfinished tasks back first; what is left after that ends with the job.
        for (int waited = 0; waited < PatienceMilliseconds && keeper.IsAlive; waited += 1000)
        {
            RequestAdditionalTime(2000);
            keeper.Join(1000);
        }
        lock (turn)
        {
            try
            {
                if (runner != null) runner.Kill();
            }
            catch (InvalidOperationException) { }
            catch (Win32Exception) { }
        }
    }

    void Log(string text)
    {
        try
        {
            lock (writing)
            {
                if (File.Exists(log) && new FileInfo(log).Length > MostLogBytes)
                {
                    File.Delete(log + ".old");
                    File.Move(log, log + ".old");
                }
                File.AppendAllText(log, DateTime.UtcNow.ToString("o") + " " + text + Environment.NewLine);
            }
        }
        catch (IOException) { }
        catch (UnauthorizedAccessException) { }
    }
}

// Ctrl+C for a process with a console of its own.
static class RunnerConsole
{
    public static void Interrupt(int process)
    {
        FreeConsole();
        if (!AttachConsole((uint)process)) return;
        SetConsoleCtrlHandler(IntPtr.Zero, true);
        GenerateConsoleCtrlEvent(0, 0);
        // Our own share of the event has to pass before we hear such events again.
        Thread.Sleep(500);
        FreeConsole();
        SetConsoleCtrlHandler(IntPtr.Zero, false);
    }

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool AttachConsole(uint process);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool FreeConsole();

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool SetConsoleCtrlHandler(IntPtr handler, bool add);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool GenerateConsoleCtrlEvent(uint kind, uint group);
}

// Processes that end when this object does, however that comes about.
sealed class Job : IDisposable
{
    const int ExtendedLimits = 9;
    const uint KillOnClose = 0x2000;
    readonly IntPtr handle;

    public Job()
    {
        handle = CreateJobObject(IntPtr.Zero, null);
        if (handle == IntPtr.Zero) throw new Win32Exception();
        var limits = new Limits();
        limits.Flags = KillOnClose;
        int size = Marshal.SizeOf(typeof(Limits));
        IntPtr block = Marshal.AllocHGlobal(size);
        try
        {
            Marshal.StructureToPtr(limits, block, false);
            if (!SetInformationJobObject(handle, ExtendedLimits, block, (uint)size)) throw new Win32Exception();
        }
        finally
        {
            Marshal.FreeHGlobal(block);
        }
    }

    public void Add(IntPtr process)
    {
        if (!AssignProcessToJobObject(handle, process)) throw new Win32Exception();
    }

    public void Dispose() { CloseHandle(handle); }

    // JOBOBJECT_EXTENDED_LIMIT_INFORMATION
    [StructLayout(LayoutKind.Sequential)]
    struct Limits
    {
        public long ProcessTime, JobTime;
        public uint Flags;
        public UIntPtr LeastWorkingSet, MostWorkingSet;
        public uint MostProcesses;
        public UIntPtr Affinity;
        public uint Priority, Scheduling;
        public ulong Reads, Writes, Others, ReadBytes, WrittenBytes, OtherBytes;
        public UIntPtr ProcessMemory, JobMemory, PeakProcessMemory, PeakJobMemory;
    }

    [DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern IntPtr CreateJobObject(IntPtr security, string name);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool SetInformationJobObject(IntPtr job, int kind, IntPtr information, uint size);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool AssignProcessToJobObject(IntPtr job, IntPtr process);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool CloseHandle(IntPtr handle);
}

// Runs a command as a local account without its password, with our own standard handles, environment and directory.
static class TaskLauncher
{
    const int LogonNetwork = 3;
    const int S4ULogon = 12;
    const uint InheritableHandle = 1;
    const int UseStandardHandles = 0x100;
    const uint CreateSuspended = 0x4, CreateUnicodeEnvironment = 0x400, CreateNoWindow = 0x08000000;
    const uint Infinite = 0xFFFFFFFF;
    const uint MaximumAllowed = 0x02000000;
    const int Impersonation = 2, PrimaryToken = 1;

    public static int Run(string account, string command)
    {
        IntPtr token = LogOn(account);
        var startup = new StartupInfo();
        startup.Size = Marshal.SizeOf(typeof(StartupInfo));
        startup.Flags = UseStandardHandles;
        // Empty, not none: the account gets a desktop of its own, as it may not use ours and would fail on it.
        startup.Desktop = "";
        startup.Input = Inheritable(-10);
        startup.Output = Inheritable(-11);
        startup.Error = Inheritable(-12);
        var process = new ProcessInformation();
        // The environment is the one that the runner made for the task.
        IntPtr environment = GetEnvironmentStrings();
        bool started = CreateProcessAsUser(
            token, null, new StringBuilder(command), IntPtr.Zero, IntPtr.Zero, true,
            CreateSuspended | CreateUnicodeEnvironment | CreateNoWindow, environment, null, ref startup, out process);
        if (!started) throw new Win32Exception();
        // When the runner ends this program, the task ends with all that it started.
        using (var job = new Job())
        {
            job.Add(process.Process);
            ResumeThread(process.Thread);
            WaitForSingleObject(process.Process, Infinite);
            uint code;
            if (!GetExitCodeProcess(process.Process, out code)) throw new Win32Exception();
            return unchecked((int)code);
        }
    }

    static IntPtr Inheritable(int standard)
    {
        IntPtr handle = GetStdHandle(standard);
        SetHandleInformation(handle, InheritableHandle, InheritableHandle);
        return handle;
    }

    // MSV1_0_S4U_LOGON, which SYSTEM may do for accounts of its own machine.
    static IntPtr LogOn(string account)
    {
        IntPtr authority;
        uint mode;
        var name = new AnsiString("millpond");
        Check(LsaRegisterLogonProcess(ref name, out authority, out mode));
        uint package;
        var packageName = new AnsiString("MICROSOFT_AUTHENTICATION_PACKAGE_V1_0");
        Check(LsaLookupAuthenticationPackage(authority, ref packageName, out package));

        byte[] user = Encoding.Unicode.GetBytes(account), domain = Encoding.Unicode.GetBytes(".");
        int head = Marshal.SizeOf(typeof(S4UHead));
        int size = head + user.Length + domain.Length;
        IntPtr block = Marshal.AllocHGlobal(size);
        try
        {
            var message = new S4UHead();
            message.Kind = S4ULogon;
            message.User = new UnicodeString(user.Length, IntPtr.Add(block, head));
            message.Domain = new UnicodeString(domain.Length, IntPtr.Add(block, head + user.Length));
            Marshal.StructureToPtr(message, block, false);
            Marshal.Copy(user, 0, message.User.Buffer, user.Length);
            Marshal.Copy(domain, 0, message.Domain.Buffer, domain.Length);

            var source = new TokenSource();
            source.Name = Encoding.ASCII.GetBytes("millpond");
            if (!AllocateLocallyUniqueId(out source.Id)) throw new Win32Exception();
            IntPtr profile, token;
            uint profileSize, substatus;
            long logon;
            var quotas = new QuotaLimits();
            Check(LsaLogonUser(
                authority, ref name, LogonNetwork, package, block, (uint)size, IntPtr.Zero, ref source,
                out profile, out profileSize, out logon, out token, out quotas, out substatus));
            if (profile != IntPtr.Zero) LsaFreeReturnBuffer(profile);
            // A process needs a primary token, and a network logon gives one to impersonate with.
            IntPtr primary;
            if (!DuplicateTokenEx(token, MaximumAllowed, IntPtr.Zero, Impersonation, PrimaryToken, out primary))
                throw new Win32Exception();
            return primary;
        }
        finally
        {
            Marshal.FreeHGlobal(block);
            LsaDeregisterLogonProcess(authority);
        }
    }

    static void Check(uint status)
    {
        if (status != 0) throw new Win32Exception((int)LsaNtStatusToWinError(status));
    }

    [StructLayout(LayoutKind.Sequential)]
    struct AnsiString
    {
        public ushort Length, Capacity;
        public IntPtr Buffer;

        // Held until the process ends, which is soon.
        public AnsiString(string text)
        {
            Length = (ushort)text.Length;
            Capacity = (ushort)(text.Length + 1);
            Buffer = Marshal.StringToHGlobalAnsi(text);
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    struct UnicodeString
    {
        public ushort Length, Capacity;
        public IntPtr Buffer;

        public UnicodeString(int bytes, IntPtr buffer)
        {
            Length = Capacity = (ushort)bytes;
            Buffer = buffer;
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    struct S4UHead
    {
        public int Kind;
        public uint Flags;
        public UnicodeString User, Domain;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct TokenSource
    {
        [MarshalAs(UnmanagedType.ByValArray, SizeConst = 8)]
        public byte[] Name;
        public LocalId Id;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct LocalId
    {
        public uint Low;
        public int High;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct QuotaLimits
    {
        public UIntPtr Paged, NonPaged, LeastWorkingSet, MostWorkingSet, PageFile;
        public long Time;
    }

    [StructLayout(LayoutKind.Sequential, CharSet = CharSet.Unicode)]
    struct StartupInfo
    {
        public int Size;
        public string Reserved, Desktop, Title;
        public int X, Y, Width, Height, Columns, Rows, Fill, Flags;
        public short Show, ReservedSize;
        public IntPtr ReservedBytes, Input, Output, Error;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct ProcessInformation
    {
        public IntPtr Process, Thread;
        public int ProcessId, ThreadId;
    }

    [DllImport("secur32.dll")]
    static extern uint LsaRegisterLogonProcess(ref AnsiString name, out IntPtr authority, out uint mode);

    [DllImport("secur32.dll")]
    static extern uint LsaLookupAuthenticationPackage(IntPtr authority, ref AnsiString name, out uint package);

    [DllImport("secur32.dll")]
    static extern uint LsaLogonUser(
        IntPtr authority, ref AnsiString origin, int kind, uint package, IntPtr message, uint size, IntPtr groups,
        ref TokenSource source, out IntPtr profile, out uint profileSize, out long logon, out IntPtr token,
        out QuotaLimits quotas, out uint substatus);

    [DllImport("secur32.dll")]
    static extern uint LsaFreeReturnBuffer(IntPtr buffer);

    [DllImport("secur32.dll")]
    static extern uint LsaDeregisterLogonProcess(IntPtr authority);

    [DllImport("advapi32.dll")]
    static extern uint LsaNtStatusToWinError(uint status);

    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool AllocateLocallyUniqueId(out LocalId id);

    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern bool CreateProcessAsUser(
        IntPtr token, string program, StringBuilder command, IntPtr process, IntPtr thread, bool inherit, uint flags,
        IntPtr environment, string directory, ref StartupInfo startup, out ProcessInformation information);

    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool DuplicateTokenEx(
        IntPtr token, uint access, IntPtr security, int level, int kind, out IntPtr duplicate);

    [DllImport("kernel32.dll", EntryPoint = "GetEnvironmentStringsW", SetLastError = true)]
    static extern IntPtr GetEnvironmentStrings();

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern IntPtr GetStdHandle(int which);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool SetHandleInformation(IntPtr handle, uint mask, uint flags);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern uint ResumeThread(IntPtr thread);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern uint WaitForSingleObject(IntPtr handle, uint milliseconds);

    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool GetExitCodeProcess(IntPtr process, out uint code);
}

// A command line that a program's own runtime takes apart into the same words again (documented: CommandLineToArgvW).
static class Words
{
    public static string Join(string[] words, int first)
    {
        var line = new StringBuilder();
        for (int index = first; index < words.Length; index++)
        {
            if (index > first) line.Append(' ');
            Quote(line, words[index]);
        }
        return line.ToString();
    }

    static void Quote(StringBuilder line, string word)
    {
        if (word.Length > 0 && word.IndexOfAny(new[] { ' ', '\t', '\n', '\v', '"' }) < 0)
        {
            line.Append(word);
            return;
        }
        line.Append('"');
        int backslashes = 0;
        foreach (char letter in word)
        {
            if (letter == '\\')
            {
                backslashes++;
                continue;
            }
            // Backslashes mean themselves, but before a quote.
            line.Append('\\', letter == '"' ? 2 * backslashes + 1 : backslashes);
            backslashes = 0;
            line.Append(letter);
        }
        line.Append('\\', 2 * backslashes);
        line.Append('"');
    }
}
